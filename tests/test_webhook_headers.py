"""WEBHOOK_HEADERS: what may be sent with each webhook, and what is said of what may not."""

from __future__ import annotations

import json

import pytest

from actor_queue.core.settings import SettingsError, parse


def refusal(text: str, **values: str) -> str:
    """The sentence, in which no value may be."""
    with pytest.raises(SettingsError) as caught:
        parse({"WEBHOOK_HEADERS": text, **values})
    [said] = caught.value.sentences
    assert said.startswith("WEBHOOK_HEADERS ")
    assert "hunter2" not in said
    return said


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("Webhook-Id", "hunter2", "webhook-id is set by the service itself"),
        ("aq-answer-url", "hunter2", "aq-answer-url is set by the service itself"),
        ("Content-Type", "hunter2", "content-type is set by the service itself"),
        ("Idempotency-Key", "hunter2", "idempotency-key is set by the service itself"),
        ("transfer-encoding", "hunter2", "transfer-encoding is set by the service itself"),
        ("X Bot", "hunter2", "one of the names is none that a header can have"),
        ("X-Bot", "hunter2\r\nx: y", "the value of x-bot has a line break"),
        ("X-Bot", "hunter2ã", "the value of x-bot is not ASCII"),
        ("X-Bot", " hunter2", "the value of x-bot is empty, or has blanks around it"),
        ("X-Bot", "hunter2\0", "the value of x-bot is empty, or has blanks around it"),
        ("X-Bot", "", "the value of x-bot is empty"),
        ("X-Bot", None, "the value of x-bot is not a text"),
        ("X-Bot", "hunter2" * 1_200, "it is too long"),
    ],
)
def test_a_header_that_cannot_be_sent_is_named_and_its_value_is_not(
    name: str, value: str | None, why: str
) -> None:
    assert why in refusal(json.dumps({name: value}, ensure_ascii=False))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("hunter2", "allowed: a JSON object"),
        ("[" * 100_000, "allowed: a JSON object"),
        ('["hunter2"]', "it is JSON, but no object"),
        ('{"a": "hunter2", "A": "hunter2"}', "a is there twice"),
        (json.dumps({f"a{n}": "hunter2" for n in range(51)}), "it has 51 headers"),
    ],
)
def test_what_is_no_object_of_headers_is_refused(text: str, why: str) -> None:
    assert why in refusal(text)


def test_two_ways_to_authorize_are_a_contradiction() -> None:
    header = json.dumps({"Authorization": "Bearer hunter2"})
    assert "take one of them away" in refusal(header, WEBHOOK_URL="http://u:hunter2@bot")

"""The doors over HTTP: who may come in, and what each platform is answered."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anyio
import pytest

from actor_queue.core.api_keys import ApiKey
from actor_queue.core.message import Message
from actor_queue.core.settings import parse
from actor_queue.http import doors
from actor_queue.http.aliases import Aliases
from actor_queue.http.auth import Keys
from actor_queue.http.doors import (
    KEYED_BYTES_MAX,
    LARGE_KEYED_MAX,
    PIECE_ACTIONS_MAX,
    SIGNED_BYTES_MAX,
)
from actor_queue.http.traffic import Traffic
from tests.doors.fixtures import NAMES, NOW_S, as_sent, fixture
from tests.doors.test_signatures import SIGN, by_chatwoot
from tests.http.client import Answer, ask, raw
from tests.http.conftest import Served, served
from tests.http.memory_engine import MemoryEngine

SECRET = "the-secret-of-the-platform"
INGEST = "an-ingest-key"
SETTINGS = {
    **{f"AQ_DOOR_{kind.upper()}_SECRET": SECRET for kind in SIGN},
    "AQ_DOOR_CLOUD_VERIFY_TOKEN": "the-token-of-meta",
    "AQ_API_KEYS": f"ingest:{INGEST},read:a-read-key,admin:an-admin-key",
}
SHOWN = [
    {"authorization": f"Bearer {INGEST}"},
    {"authorization": INGEST},
    {"x-api-key": INGEST},
    {"?": f"key={INGEST}"},
    {"?": "session=default&key=an-admin-key"},
]
NOTHING = {"accepted": 0, "typing": 0, "held": 0, "edited": 0, "ignored": 0, "reasons": {}}


@pytest.fixture(scope="module")
def open_one() -> Iterator[Served]:
    with served() as server:
        server.application.doors.clock = lambda: NOW_S
        yield server


@pytest.fixture(scope="module")
def closed_one() -> Iterator[Served]:
    with served(MemoryEngine(parse(SETTINGS))) as server:
        server.application.doors.clock = lambda: NOW_S
        yield server


@pytest.fixture
def open_doors(open_one: Served) -> Served:
    open_one.engine.__post_init__()
    open_one.application.doors.aliases = Aliases(open_one.engine)
    return open_one


@pytest.fixture
def closed_doors(closed_one: Served) -> Served:
    closed_one.engine.__post_init__()
    closed_one.application.doors.aliases = Aliases(closed_one.engine)
    return closed_one


def send(server: Served, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    headers = dict(headers or {})
    query = headers.pop("?", "")
    target = f"/in/{path}" + (f"?{query}" if query else "")
    return ask(
        server.address, "POST", target, body, {"content-type": "application/json", **headers}
    )


def counted(actions: list[dict[str, Any]]) -> dict[str, Any]:
    """What an event with these actions is answered when it comes for the first time."""
    kinds = Counter(next(iter(each)) for each in actions)
    reasons = Counter(each["ignore"] for each in actions if "ignore" in each)
    reasons += Counter({"unknown_message": kinds["edit"] + kinds["revoke"]})
    answer = NOTHING | {
        "accepted": kinds["push"],
        "typing": kinds["typing"],
        "held": kinds["hold"],
        "ignored": reasons.total(),
        "reasons": dict(reasons),
    }
    return answer | ({"released": kinds["release"]} if kinds["release"] else {})


def accepted(server: Served) -> list[Message]:
    return [message for group in server.engine.pushes for message in group]


@pytest.mark.parametrize("name", NAMES)
def test_an_event_is_answered_with_what_was_done(open_doors: Served, name: str) -> None:
    found = fixture(name)
    answer = send(open_doors, name.partition("/")[0], as_sent(found["body"]))
    assert (answer.status, answer.json) == (200, counted(found["actions"]))
    pushed = [each["push"] for each in found["actions"] if "push" in each]
    assert [json.loads(message.body) for message in accepted(open_doors)] == pushed
    assert all(message.remembered for message in accepted(open_doors))
    assert all(message.remember_ms >= 86_400_000 for message in accepted(open_doors))


@pytest.mark.parametrize("platform", SIGN)
def test_the_same_event_again_is_a_duplicate_and_no_error(
    open_doors: Served, platform: str
) -> None:
    body = as_sent(fixture(f"{platform}/text")["body"])
    assert send(open_doors, platform, body).json["accepted"] == 1
    again = send(open_doors, platform, body)
    assert again.status == 200
    assert again.json == NOTHING | {"ignored": 1, "reasons": {"duplicate": 1}}
    other = as_sent(fixture(f"{platform}/duplicate")["body"])
    assert send(open_doors, platform, other).json["reasons"] == {"duplicate": 1}


# Edits and revocations


@pytest.mark.parametrize("platform", SIGN)
def test_an_edit_of_what_waits_replaces_it_and_a_revocation_removes_it(
    open_doors: Served, platform: str
) -> None:
    [change] = fixture(f"{platform}/edit")["actions"]
    user = change["edit"]["user"]
    send(open_doors, platform, as_sent(fixture(f"{platform}/text")["body"]))
    answer = send(open_doors, platform, as_sent(fixture(f"{platform}/edit")["body"]))
    assert answer.json == NOTHING | {"edited": 1}
    [message] = open_doors.engine.messages[user]
    assert json.loads(message.body)["message"] == change["edit"]["text"]
    if platform != "telegram":  # what it says is about another chat
        answer = send(open_doors, platform, as_sent(fixture(f"{platform}/revoke")["body"]))
        assert answer.json == NOTHING | {"edited": 1}
        assert open_doors.engine.messages[user] == []
    (_, deed), *_ = open_doors.engine.noted
    assert (deed.name, deed.by) == (
        "edit" if platform == "telegram" else "revoke",
        f"door {platform}",
    )


@pytest.mark.parametrize("platform", SIGN)
def test_after_the_claim_an_edit_is_a_new_message_and_a_revocation_is_too_late(
    open_doors: Served, platform: str
) -> None:
    open_doors.engine.unchangeable = "claimed"
    body = as_sent(fixture(f"{platform}/edit")["body"])
    [change] = fixture(f"{platform}/edit")["actions"]
    assert send(open_doors, platform, body).json == NOTHING | {"accepted": 1}
    again = send(open_doors, platform, body).json
    assert again == NOTHING | {"ignored": 1, "reasons": {"duplicate": 1}}
    sent = json.loads(accepted(open_doors)[0].body)
    assert sent["message_id"].startswith(change["edit"]["message_id"] + ":edited:")
    assert (sent["message"], sent["edited"]) == (change["edit"]["text"], True)
    assert sent["edit_of"] == change["edit"]["message_id"]
    found = fixture(f"{platform}/revoke")
    answer = send(open_doors, platform, as_sent(found["body"])).json
    count = len(found["actions"])
    assert answer == NOTHING | {"ignored": count, "reasons": {"claimed": count}}


@pytest.mark.parametrize(
    ("why", "reasons"),
    [("body", {"too_large": 1}), ("revoked", {"unknown_message": 1}), ("batch", {})],
)
def test_an_edit_that_is_not_carried_out_says_why(
    open_doors: Served, why: str, reasons: dict[str, int]
) -> None:
    open_doors.engine.unchangeable = why
    answer = send(open_doors, "waha", as_sent(fixture("waha/edit")["body"])).json
    assert (answer["reasons"], answer["accepted"]) == (reasons, int(not reasons))


def test_an_edit_comes_again_where_too_much_waits(open_doors: Served) -> None:
    open_doors.engine.unchangeable = "pending"
    assert send(open_doors, "waha", as_sent(fixture("waha/edit")["body"])).status == 503


# Who may come in


@pytest.mark.parametrize("platform", SIGN)
@pytest.mark.parametrize("shown", SHOWN, ids=str)
def test_a_key_opens_every_door_wherever_it_is_shown(
    closed_doors: Served, platform: str, shown: dict[str, str]
) -> None:
    answer = send(closed_doors, platform, as_sent(fixture(f"{platform}/text")["body"]), shown)
    assert (answer.status, answer.json) == (200, NOTHING | {"accepted": 1})


@pytest.mark.parametrize("platform", SIGN)
def test_the_platforms_signature_opens_its_door_without_a_key(
    closed_doors: Served, platform: str
) -> None:
    body = as_sent(fixture(f"{platform}/text")["body"])
    answer = send(closed_doors, platform, body, SIGN[platform](body, SECRET))
    assert (answer.status, answer.json) == (200, NOTHING | {"accepted": 1})


WRONG: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer another-key"},
    {"authorization": "Bearer a-read-key"},
    {"authorization": "Basic YTpi"},
    {"x-api-key": "another-key"},
    {"x-api-key": ""},
    {"?": "key="},
    {"?": f"key=1&key=2&key=3&key=4&key={INGEST}"},
    {"?": "key=a-read-key"},
    {"?": f"apikey={INGEST}"},
    {"cookie": f"aq_session={INGEST}"},
]


@pytest.mark.parametrize("platform", SIGN)
@pytest.mark.parametrize("shown", WRONG, ids=str)
def test_nothing_else_opens_one_and_nothing_is_changed(
    closed_doors: Served, platform: str, shown: dict[str, str]
) -> None:
    for case in ("text", "from_me"):
        answer = send(closed_doors, platform, as_sent(fixture(f"{platform}/{case}")["body"]), shown)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert accepted(closed_doors) == []
    assert closed_doors.engine.held_ms == {}


@pytest.mark.parametrize("platform", SIGN)
def test_a_wrong_signature_closes_the_door_also_for_who_has_a_key(
    closed_doors: Served, platform: str
) -> None:
    body = as_sent(fixture(f"{platform}/text")["body"])
    wrong = SIGN[platform](body, "another-secret")
    for headers in (wrong, wrong | {"x-api-key": INGEST}):
        assert send(closed_doors, platform, body, headers).status == 401
    assert accepted(closed_doors) == []


def test_a_replayed_event_of_chatwoot_changes_nothing(closed_doors: Served) -> None:
    body = as_sent(fixture("chatwoot/agent_takes_over")["body"])
    old = by_chatwoot(body, SECRET, NOW_S - 3_600)
    assert send(closed_doors, "chatwoot", body, old).status == 401
    assert closed_doors.engine.held_ms == {}


@pytest.mark.parametrize("platform", ["waha", "cloud", "chatwoot"])
def test_a_signed_body_is_verified_as_it_was_sent(closed_doors: Served, platform: str) -> None:
    body = as_sent(fixture(f"{platform}/caption_and_image")["body"])
    assert b"\\u00c9" in body
    assert send(closed_doors, platform, body, SIGN[platform](body, SECRET)).json["accepted"] == 1
    [message] = accepted(closed_doors)
    assert json.loads(message.body)["message"] == "É este aqui"


def test_where_there_is_a_secret_and_no_key_only_the_signature_opens() -> None:
    engine = MemoryEngine(parse({"AQ_DOOR_CLOUD_SECRET": SECRET}))
    body = as_sent(fixture("cloud/delivery_report")["body"])
    with served(engine) as server:
        assert send(server, "cloud", body).status == 401
        assert send(server, "cloud", body, SIGN["cloud"](body, SECRET)).status == 200
        assert send(server, "waha", b"{}").status == 200, (
            "a door without a secret is as open as all"
        )


# Meta's question


QUESTION = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="


@pytest.mark.parametrize("token", ["the-token-of-meta", SECRET, INGEST, "an-admin-key"])
def test_metas_question_is_answered_with_its_challenge(closed_doors: Served, token: str) -> None:
    answer = ask(closed_doors.address, "GET", f"/in/cloud?{QUESTION}{token}")
    assert (answer.status, answer.body) == (200, b"1158201444")
    assert answer.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("token", ["", "the-token-of-met", "a-read-key", "%C3%A9", "%00"])
def test_metas_question_with_another_token_is_refused(closed_doors: Served, token: str) -> None:
    assert ask(closed_doors.address, "GET", f"/in/cloud?{QUESTION}{token}").status == 401
    assert ask(closed_doors.address, "GET", "/in/cloud").status == 401


def test_an_open_service_answers_metas_question_whatever_the_token_is(open_doors: Served) -> None:
    answer = ask(open_doors.address, "GET", f"/in/cloud?{QUESTION}anything")
    assert (answer.status, answer.body) == (200, b"1158201444")


@pytest.mark.parametrize("challenge", ["", "%3Cscript%3E", "a%0Ab", "x" * 201, "%C3%A9"])
def test_only_a_challenge_that_is_a_word_is_echoed(open_doors: Served, challenge: str) -> None:
    question = f"hub.mode=subscribe&hub.verify_token=t&hub.challenge={challenge}"
    assert ask(open_doors.address, "GET", f"/in/cloud?{question}").status == 400


# What is no event, and what has to come again


@pytest.mark.parametrize("platform", SIGN)
@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff\xfe", b"a=b", b'{"a": NaN, "a": 1}', b"[" * 99_999]
)
def test_a_verified_body_is_never_answered_with_an_error(
    closed_doors: Served, platform: str, body: bytes
) -> None:
    answer = send(closed_doors, platform, body, SIGN[platform](body, SECRET))
    assert answer.status == 200
    assert answer.json["accepted"] == 0
    assert set(answer.json["reasons"]) <= {"malformed", "unknown_event"}


@pytest.mark.parametrize("platform", SIGN)
def test_an_event_has_to_come_again_while_the_store_is_away(
    open_doors: Served, platform: str
) -> None:
    open_doors.engine.away = "Redis does not answer"
    for case in ("text", "from_me"):
        body = as_sent(fixture(f"{platform}/{case}")["body"])
        answer = send(open_doors, platform, body)
        assert answer.status == 503
        assert answer.headers["retry-after"]
    open_doors.engine.away = None
    body = as_sent(fixture(f"{platform}/text")["body"])
    assert send(open_doors, platform, body).json["accepted"] == 1


def test_a_batch_of_which_one_user_is_full_has_to_come_again(open_doors: Served) -> None:
    body = fixture("cloud/batch_of_three_users")["body"]
    open_doors.engine.full = {"200000000000001:5511900000002"}
    answer = send(open_doors, "cloud", as_sent(body))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 1
    open_doors.engine.full = set()
    answer = send(open_doors, "cloud", as_sent(body))
    assert (answer.json["accepted"], answer.json["reasons"]) == (1, {"duplicate": 3, "status": 1})


def test_a_name_that_no_user_can_have_is_ignored(open_doors: Served) -> None:
    body = fixture("evolution/text")["body"]
    for place, key in ((body, "instance"), (body["data"]["key"], "id")):
        kept = place[key]
        place[key] = "x" * 600
        answer = send(open_doors, "evolution", as_sent(body))
        assert answer.json == NOTHING | {"ignored": 1, "reasons": {"unnamed": 1}}
        place[key] = kept
    typing = fixture("evolution/typing")["body"] | {"instance": "x" * 600}
    assert send(open_doors, "evolution", as_sent(typing)).json["reasons"] == {"unnamed": 1}


def test_more_text_than_one_message_may_have_is_ignored(open_doors: Served) -> None:
    body = fixture("telegram/text")["body"]
    body["message"]["text"] = "x" * 300_000
    answer = send(open_doors, "telegram", as_sent(body))
    assert answer.json == NOTHING | {"ignored": 1, "reasons": {"too_large": 1}}


def test_a_compressed_event_is_read(open_doors: Served) -> None:
    body = gzip.compress(as_sent(fixture("waha/text")["body"]))
    assert send(open_doors, "waha", body, {"content-encoding": "gzip"}).json["accepted"] == 1


# An event of many messages


def many(values: dict[str, Any]) -> bytes:
    """An event of Meta's."""
    about = {"metadata": {"phone_number_id": "1"}}
    return as_sent({"entry": [{"changes": [{"value": about | values}]}]})


def test_a_long_event_is_stored_piece_by_piece_in_order(open_doors: Served) -> None:
    texts = [str(number) for number in range(2 * PIECE_ACTIONS_MAX + 1)]
    body = many(
        {
            "messages": [
                {"from": "1", "id": text, "type": "text", "text": {"body": text}} for text in texts
            ]
        }
    )
    assert send(open_doors, "cloud", body).json["accepted"] == len(texts)
    assert [len(group) for group in open_doors.engine.pushes] == [
        PIECE_ACTIONS_MAX,
        PIECE_ACTIONS_MAX,
        1,
    ]
    assert [json.loads(message.body)["message"] for message in accepted(open_doors)] == texts


@pytest.mark.parametrize("values", [{"statuses": [0] * 20_000}, {"messages": [0] * 20_000}])
def test_a_long_event_lets_others_take_their_turns(values: dict[str, Any]) -> None:
    """Also where it asks for nothing: a replica that is busy for seconds loses its leases."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": many(values), "more_body": False}

    async def send_nowhere(event: object) -> None: ...

    async def main() -> None:
        backend = MemoryEngine()
        handler = doors.Doors(backend, Keys(()), Traffic())
        scope = {"method": "POST", "headers": [], doors.DOOR_IN_SCOPE: b"cloud"}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await handler({**scope, "query_string": b""}, receive, send_nowhere)
            tasks.cancel_scope.cancel()

    anyio.run(main, backend="trio")
    assert turns >= 20_000 // PIECE_ACTIONS_MAX // 2


# Paths and limits


def test_evolution_may_put_the_events_name_behind_its_address(open_doors: Served) -> None:
    body = as_sent(fixture("evolution/text")["body"])
    assert send(open_doors, "evolution/messages-upsert", body).json["accepted"] == 1
    assert send(open_doors, "evolution/", body).status == 200
    assert send(open_doors, "waha/message", body).status == 404
    assert send(open_doors, "evolution/a/b", body).status == 404


@pytest.mark.parametrize("path", ["", "nobody", "Evolution", "evolution%2F", "%65volution"])
def test_what_is_no_door_is_not_found(open_doors: Served, path: str) -> None:
    assert send(open_doors, path, b"{}").status == 404


def test_other_methods_are_told_which_there_are(open_doors: Served) -> None:
    answer = ask(open_doors.address, "GET", "/in/waha")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    answer = ask(open_doors.address, "PUT", "/in/cloud", b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")


def test_a_body_is_read_no_further_than_its_limit(closed_doors: Served) -> None:
    key = {"x-api-key": INGEST}
    for headers, limit in ((key, KEYED_BYTES_MAX), (SIGN["waha"](b"", SECRET), SIGNED_BYTES_MAX)):
        with raw(closed_doors.address) as sock:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = (
                f"POST /in/waha HTTP/1.1\r\nhost: a\r\n{lines}content-length: {9 * limit}\r\n\r\n"
            )
            sock.sendall(head.encode())
            assert b" 413 " in sock.recv(4_096)


@pytest.mark.parametrize(
    "fields",
    [
        b"content-length: 1000000",
        b"transfer-encoding: chunked",
        b"content-encoding: gzip\r\ncontent-length: 1000",
    ],
)
def test_events_that_may_be_large_take_turns_and_usual_ones_pass_them(
    open_doors: Served, monkeypatch: pytest.MonkeyPatch, fields: bytes
) -> None:
    monkeypatch.setattr(doors, "PLACE_S", 0.05)
    head = b"POST /in/waha HTTP/1.1\r\nhost: localhost\r\n" + fields + b"\r\n\r\n"
    large = as_sent(fixture("waha/a_megabyte_of_base64")["body"])
    with ExitStack() as stack:
        for _ in range(LARGE_KEYED_MAX):
            stack.enter_context(raw(open_doors.address)).sendall(head)
        for _ in range(100):  # it may take a moment until all of them are in their places
            answer = send(open_doors, "waha", large)
            if answer.status != 200:
                break
            # Some may have found a place of the test before that had not been left yet.
            stack.enter_context(raw(open_doors.address)).sendall(head)
        assert answer.status == 503
        assert send(open_doors, "waha", as_sent(fixture("waha/text")["body"])).status == 200


def test_a_key_that_is_gone_opens_no_door() -> None:
    with served(MemoryEngine(parse({"AQ_API_KEYS": f"ingest:{INGEST}"}))) as server:
        body, key = as_sent(fixture("waha/delivery_report")["body"]), {"x-api-key": INGEST}
        assert send(server, "waha", body, key).status == 200
        server.run(lambda: server.application.keys.replace([ApiKey("ingest", "another-key")]))
        assert send(server, "waha", body, key).status == 401

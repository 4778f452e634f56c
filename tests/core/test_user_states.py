"""The arrows between a user's states, each carried out with the real scripts in process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.message import Message
from actor_queue.core.outcome import Retry
from actor_queue.core.settings import Settings
from actor_queue.store.answers_api import Answered
from actor_queue.store.api import Lease, UserState
from tests.store.driver import Now, Subject, memory_subject

DOCS = Path(__file__).parents[2] / "docs"
TTL_MS = 1_000
TIMEOUT_MS = 2_000
RETRY_MS = 500
HOLD_MS = 3_000
WITHIN_MS = 2_500
LEASE_MS = 1_000_000


# The arrows of the page


def arrows() -> dict[tuple[str, str], str]:
    """From and to → what the committed page writes on the arrow."""
    page = (DOCS / "state_machine.md").read_text("utf-8").partition("## The user")[2]
    found = re.findall(r"^    (\w+) --> (\w+): (.+)$", page, re.MULTILINE)
    return {(before, after): label for before, after, label in found}


def test_the_page_draws_every_state_of_a_user() -> None:
    assert {state for arrow in arrows() for state in arrow} == set(get_args(UserState))


def test_each_arrow_of_the_page_is_carried_out() -> None:
    assert arrows().keys() == MOVES.keys()


class Scene:
    """One user of a store in process, and somebody who owns the shard."""

    def __init__(self, subject: Subject, now: Now) -> None:
        self.subject, self.now = subject, now
        self.serial = 0
        self.lease: Lease
        (self.lease,) = self.ask("acquire", [0], "r1", "nonce", LEASE_MS)
        self.attempt: Attempt

    def ask(self, verb: str, *args: object) -> Any:
        return self.subject.call(verb, *args)

    @property
    def state(self) -> str:
        return str(self.ask("describe", "ana").state)

    def later(self, ms: int) -> None:
        self.now.ms += ms

    def post(self) -> None:
        self.serial += 1
        body = json.dumps({"message": "oi"}).encode()
        self.ask("append", [Message("ana", body, TTL_MS, f"m{self.serial}", remembered=False)])

    def claim(self) -> None:
        self.serial += 1
        name = batch_id(0, f"{self.serial:020x}")
        claimed = self.ask("claim", self.lease, "ana", f"t{self.serial}", name)
        assert isinstance(claimed, Attempt), claimed
        self.attempt = claimed

    def post_and_claim(self) -> None:
        self.post()
        self.later(TTL_MS)
        self.claim()

    def ack(self) -> None:
        self.ask("ack", self.attempt, 200)

    def fail(self) -> None:
        self.ask("retry", self.lease, self.attempt, RETRY_MS, 500, "answered 500")

    def answer_later(self) -> None:
        self.ask("answering", self.attempt, WITHIN_MS)

    @property
    def ticket(self) -> Ticket:
        return Ticket("ana", self.attempt.batch.id, self.attempt.token, self.now.ms + 10**6)

    def done(self) -> None:
        self.subject.call("answer_done", self.ticket, only_latest=False)

    def done_if_latest(self) -> None:
        self.subject.call("answer_done", self.ticket, only_latest=True)

    def extend(self) -> None:
        self.ask("answer_extend", self.ticket, WITHIN_MS)

    def say_failed(self) -> None:
        was = Answered("answering", 0, attempt=1, messages=1)
        self.ask("answer_fail", self.ticket, was, Retry(RETRY_MS, "no"))

    def divide(self) -> None:
        """Of a batch that has two messages."""
        self.ack()
        self.post()
        self.post_and_claim()
        self.ask("divide", self.lease, self.attempt, 413, "answered 413")

    def bury(self) -> None:
        self.ask("bury", self.lease, self.attempt, 410, "answered 410")

    def replay(self) -> None:
        self.post_and_claim()
        self.bury()
        assert self.state == "idle"
        self.ask("dead_replay", self.attempt.batch.id)

    def hold(self) -> None:
        self.ask("hold", "ana", HOLD_MS)

    def release(self) -> None:
        self.ask("unhold", "ana")

    def hold_ends(self) -> None:
        self.later(HOLD_MS)

    def type(self) -> None:
        self.ask("typing", "ana", None)

    def drop(self) -> None:
        self.ask("drop", "ana")

    def flush_and_claim(self) -> None:
        assert self.ask("flush", "ana") != "held"
        self.claim()


Script = tuple[str, ...]
"""Verbs of `Scene`, one after the other; a number is time that passes."""
BEGIN: dict[str, list[Script]] = {
    "idle": [(), ("post_and_claim", "ack")],
    "collecting": [("post",)],
    "delivering": [("post_and_claim",)],
    "answering": [("post_and_claim", "answer_later")],
    "retrying": [("post_and_claim", "fail")],
    "held": [("hold",)],
}
MOVES: dict[tuple[str, str], list[Script]] = {
    ("idle", "collecting"): [("post",), ("replay",)],
    ("idle", "held"): [("hold",)],
    ("collecting", "collecting"): [(str(TTL_MS - 1), "post", "1"), (str(TTL_MS - 1), "type", "1")],
    ("collecting", "delivering"): [(str(TTL_MS), "claim"), ("flush_and_claim",)],
    ("collecting", "held"): [("hold",)],
    ("collecting", "idle"): [("drop",)],
    ("delivering", "idle"): [("ack",), ("bury",)],
    ("delivering", "collecting"): [("post", "ack"), ("post", "bury")],
    ("delivering", "retrying"): [("fail",), ("post", "fail"), ("divide",)],
    ("delivering", "held"): [("hold", "ack"), ("hold", "fail")],
    ("delivering", "delivering"): [(str(TIMEOUT_MS + 1_000), "claim"), ("hold",), ("post",)],
    ("delivering", "answering"): [("answer_later",)],
    ("answering", "answering"): [(str(WITHIN_MS - 1), "extend", "1"), ("hold",), ("post",)],
    ("answering", "idle"): [("done",), ("done_if_latest",)],
    ("answering", "collecting"): [("post", "done"), ("post", "done_if_latest")],
    ("answering", "retrying"): [("say_failed",)],
    ("answering", "delivering"): [(str(WITHIN_MS), "claim")],
    ("answering", "held"): [("hold", "done"), ("hold", "say_failed")],
    ("retrying", "delivering"): [(str(RETRY_MS), "claim"), ("flush_and_claim",)],
    ("retrying", "idle"): [("drop",)],
    ("retrying", "held"): [("hold",)],
    ("held", "idle"): [("release",), ("hold_ends",)],
    ("held", "collecting"): [("post", "release"), ("post", "hold_ends")],
    ("held", "retrying"): [
        ("release", "post_and_claim", "hold", "fail", "release"),
        ("release", "post_and_claim", "hold", "fail", "hold_ends"),
    ],
}


@pytest.mark.parametrize(("before", "after"), MOVES)
def test_a_user_moves_as_the_page_says_from(before: str, after: str) -> None:
    for begin in BEGIN[before]:
        for result in MOVES[before, after]:
            play(begin, before, result, after)


@pytest.mark.parametrize(
    ("before", "script"),
    [("delivering", ("hold",)), ("retrying", ("post",)), ("held", ("post",))],
)
def test_a_user_stays(before: str, script: Script) -> None:
    """An attempt is not called back by a hold; a message collects behind a retry, and in a hold."""
    play(BEGIN[before][0], before, script, before)


def play(begin: Script, before: str, result: Script, after: str) -> None:
    now = Now()
    settings = Settings(shards=1, webhook_timeout_ms=TIMEOUT_MS)
    with memory_subject(settings, now) as subject:
        scene = Scene(subject, now)
        perform(scene, begin)
        assert scene.state == before
        perform(scene, result)
        assert scene.state == after, f"after {begin} and {result}"


def perform(scene: Scene, script: Script) -> None:
    for line in script:
        verb: Callable[[], None] | None = getattr(scene, line, None)
        if verb is None:
            scene.later(int(line))
        else:
            verb()

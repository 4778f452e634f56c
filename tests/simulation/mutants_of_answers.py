"""Mistakes about receivers that answer 202 and say later that they are done."""

from __future__ import annotations

from typing import Any

from actor_queue.core.answers import Ticket
from actor_queue.core.batch import Attempt
from actor_queue.core.outcome import Bury, Retry
from actor_queue.runtime.answers import Answers
from actor_queue.store.redis import RedisStore
from tests.simulation.mutant import PRELUDE, Edit, Mutant, replaced

ANSWERS = ("answers",)
OPEN = "if u.fs == 'a' and u.fid == batch_id and u.fo == token and now < u.fu and"
MARK = "redis.call('HSET', user_key, 'sv', place .. ' ' .. u.fid)"


async def _compare_before(self: Answers, ticket: Ticket, *, only_latest: bool) -> Any:
    """Look whether something newer waits, and then be done."""
    if only_latest:
        seen = await self._store.answer(ticket)
        only_latest = seen is not None and seen.newer > 0
    return await _DONE(self, ticket, only_latest=only_latest)


_DONE = Answers.done


def _done_when_it_answers(self: Answers, attempt: Attempt) -> Any:
    batch, _ = _OFFERED(self, attempt)
    return batch, None


_OFFERED = Answers.offered


def _own_keys(self: Answers) -> tuple[bytes, ...]:
    return (self._store.replica.encode(),)


async def _again_all_the_same(
    self: RedisStore, ticket: Ticket, was: Any, verdict: Any, said: Any = None
) -> Any:
    """A receiver that wants no other attempt gets one."""
    if isinstance(verdict, Bury):
        verdict = Retry(200, verdict.reason)
    return await _FAIL(self, ticket, was, verdict, said)


_FAIL = RedisStore.answer_fail


MUTANTS_OF_ANSWERS = (
    # Done, if it is the latest
    Mutant(
        "a done that compares before the script",
        (),
        replaced(Answers, "done", _compare_before),
        ("slow", "deaf"),
        ANSWERS,
    ),
    Mutant(
        "a taken-back batch is appended behind the newer ones",
        (
            Edit(
                "done",
                "    redis.call('LPUSH', list, unpack(reversed))\n    last = first - 1",
                "    redis.call('RPUSH', list, unpack(page))\n    last = first - 1",
            ),
        ),
        options=ANSWERS,
    ),
    Mutant(
        "what is taken back comes in the wrong order",
        (Edit("done", "unpack(reversed)", "unpack(page)"),),
        options=ANSWERS,
    ),
    Mutant(
        "a batch is taken back as often as its receiver likes",
        (Edit("done", "taken < num(ARGV[13])", "taken < 99"),),
        options=ANSWERS,
    ),
    Mutant(
        "a batch does not say what it supersedes",
        (Edit("done", MARK, "local _ = place"),),
        options=ANSWERS,
    ),
    Mutant(
        "what is taken back is done for its receiver",
        (Edit("done", "what = back and 'taken_back' or 'done'", "what = 'done'"),),
        options=ANSWERS,
    ),
    Mutant(
        "what is taken back counts as nothing",
        (
            Edit("done", "text(u.pb + put_back())", "text(u.pb + 0 * put_back())"),
            Edit("done", "'pb', text(u.pb + bytes)", "'pb', text(u.pb)"),
        ),
        options=(*ANSWERS, "pending_bytes"),
    ),
    Mutant(
        "an older half counts as newer",
        (Edit(PRELUDE, "return math.max(0, waiting - at)", "return waiting"),),
        faults=("webhook_too_large",),
        options=ANSWERS,
    ),
    # Who may speak, and until when
    Mutant(
        "an old attempt's token is accepted",
        (Edit(PRELUDE, OPEN, OPEN.replace(" and u.fo == token", "")),),
        options=ANSWERS,
    ),
    Mutant(
        "an answer after its time is accepted",
        (Edit(PRELUDE, OPEN, OPEN.replace(" and now < u.fu", "")),),
        options=ANSWERS,
    ),
    Mutant(
        "what was answered is forgotten",
        (Edit("done", "end\nkeep_answer(user_key, u, what, newer)\n", "end\n"),),
        options=ANSWERS,
    ),
    Mutant(
        "each replica seals addresses with a key of its own",
        (),
        replaced(Answers, "_keys", property(_own_keys)),
        options=ANSWERS,
    ),
    # The time
    Mutant(
        "an extension without an end",
        (
            Edit(
                "extend",
                "math.min(now + num(ARGV[6]), u.fws + num(ARGV[7]))",
                "now + num(ARGV[6])",
            ),
        ),
        options=ANSWERS,
    ),
    Mutant(
        "an extension takes away what there was",
        (Edit("extend", "u.fu = math.max(u.fu, ", "u.fu = ("),),
        options=ANSWERS,
    ),
    Mutant(
        "an answer has as much time as the attempt had",
        (Edit("answering", "u.fu, u.fw = now + num(ARGV[5]), u.fo", "u.fw = u.fo"),),
        options=ANSWERS,
    ),
    Mutant(
        "a 202 is a success, whoever answers later",
        (),
        replaced(Answers, "offered", _done_when_it_answers),
        options=ANSWERS,
    ),
    Mutant(
        "who says nothing in time was done",
        (
            Edit(
                "claim",
                "if over and delivered(u) then",
                "if over and (delivered(u) or answering(u)) then",
            ),
        ),
        options=ANSWERS,
    ),
    Mutant(
        "who never says that it is done is asked for ever",
        (Edit("claim", "lapsed and u.fa >= num(ARGV[9])", "false"),),
        options=ANSWERS,
    ),
    # Failures
    Mutant(
        "who wants no other attempt gets one",
        (),
        replaced(RedisStore, "answer_fail", _again_all_the_same),
        options=ANSWERS,
    ),
    Mutant(
        "the owner is not told that a batch is done",
        (Edit("done", "owner_besides(KEYS[1], ARGV[8], now)", "nil"),),
        options=ANSWERS,
    ),
)

"""What an operator is told, by engines under virtual time on one in-process store."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actor_queue.core.conversation import Conversation
from actor_queue.core.delivery import outcome_of_status
from actor_queue.core.log_events import LEVEL_OF
from actor_queue.core.outcome import Delivered
from actor_queue.runtime.journal import Journal, UserNames, ranges
from tests.runtime.harness import GONE, REFUSED, Stage, in_turn, run, stage, until

Said = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Everything that is told, in order."""
    told: Said = []

    def tell(event: str, **fields: object) -> None:
        assert event in LEVEL_OF
        told.append((event, fields))

    monkeypatch.setattr("actor_queue.runtime.engine.tell", tell)
    return told


def of(said: Said, *events: str) -> Said:
    return [each for each in said if each[0] in events]


def named(s: Stage, user: str) -> str:
    return s.replicas[0].engine.names.hashed(user)


def test_a_failing_receiver_is_told_of_first_each_minute_and_when_it_recovers(said: Said) -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(1_000,) * 90) as s:
            a = await s.start("ra")
            # A route is opened by 5xx, and then its receiver is asked too seldom for a summary.
            s.answer = in_turn(*[REFUSED] * 80)
            await a.post("ana", "segredo", ttl_s=0)
            await trio.sleep(200)
            events = of(said, "receiver_failing", "receiver_still_failing", "receiver_recovered")
            assert [event for event, _ in events] == [
                "receiver_failing",
                "receiver_still_failing",
                "receiver_recovered",
            ]
            first, summary, end = (fields for _, fields in events)
            assert first == {"reason": "answered 400", "user": named(s, "ana")}
            assert 40 <= summary["attempts_failed"] <= 79
            assert (summary["attempts_delivered"], summary["users"]) == (0, 1)
            assert summary["reason"] == "answered 400"
            assert end["attempts_failed"] == 80
            assert end["after_s"] == pytest.approx(80, abs=17)
            assert "segredo" not in str(said)

    run(main)


def test_a_dead_letter_is_one_line_that_names_the_batch_and_no_user(said: Said) -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            s.answer = in_turn(GONE)
            await a.post("ana", "segredo", ttl_s=0)
            await until(lambda: bool(of(said, "dead_letter")))
            (letter,) = (await a.engine.dead(10, None)).letters
            assert of(said, "dead_letter") == [
                (
                    "dead_letter",
                    {
                        "batch": letter.id,
                        "user": named(s, "ana"),
                        "attempts": 1,
                        "reason": "answered 410",
                    },
                )
            ]

    run(main)


def test_an_outage_is_of_one_route_and_the_lines_name_it() -> None:
    told: Said = []
    now = 0.0
    journal = Journal(
        UserNames(plain=False), tell=lambda event, **of: told.append((event, of)), clock=lambda: now
    )
    ana, bia = Conversation("vendas", "ana").key, "bia"
    journal.attempted(ana, REFUSED)
    journal.attempted(bia, REFUSED)
    journal.attempted(bia, Delivered(200))
    journal.attempted(ana, REFUSED)
    journal.dead_letter(ana, "b1", 2, "answered 400")
    now = 61.0
    journal.look(None)
    journal.attempted(bia, Delivered(200))
    journal.attempted(ana, Delivered(200))
    assert [(event, fields.get("route")) for event, fields in told] == [
        ("receiver_failing", "vendas"),
        ("receiver_failing", None),
        ("receiver_recovered", None),
        ("dead_letter", "vendas"),
        ("receiver_still_failing", "vendas"),
        ("receiver_recovered", "vendas"),
    ]


def test_no_line_about_a_redirect_has_the_path_of_the_webhook(said: Said) -> None:
    async def main() -> None:
        async with stage(retry_schedule_ms=(60_000,) * 2) as s:
            a = await s.start("ra")
            moved = outcome_of_status(308, None, redirected_to="https://bot.example/s3cret")
            s.answer = in_turn(*[moved] * 3)
            await a.post("ana", "oi", ttl_s=0)
            await until(lambda: bool(of(said, "dead_letter")))
            assert of(said, "receiver_still_failing")
            assert str(said).count("https://bot.example/#") >= 3
            assert "s3cret" not in str(said)

    run(main)


def test_users_are_named_as_they_are_only_where_that_was_asked_for(said: Said) -> None:
    async def main(plain: bool) -> None:
        async with stage(log_users=plain) as s:
            a = await s.start("ra")
            await a.engine.hold("ana", 1_000)
            assert of(said, "hold_began")[-1][1]["user"] == ("ana" if plain else named(s, "ana"))

    run(lambda: main(False))
    run(lambda: main(True))


def test_a_users_name_in_the_log_is_the_same_everywhere_and_tells_nothing_without_the_key() -> None:
    one, other, stranger = (UserNames(plain=False) for _ in range(3))
    one.key = other.key = b"k" * 32
    stranger.key = b"x" * 32
    assert one("5511987654321") == other("5511987654321")
    assert one("5511987654321") != stranger("5511987654321")
    assert one("5511987654321") != one("5511987654322")
    assert one("ana").startswith("u-")
    assert len(one("ana" * 100)) == 14


def test_shards_that_a_dead_replica_left_are_told_in_one_line_with_its_name(said: Said) -> None:
    async def main() -> None:
        async with stage(shards=16, lease_ttl_ms=1_000) as s:
            a = await s.start("ra")
            assert of(said, "shards_taken") == [
                ("shards_taken", {"count": 16, "shards": "0-15", "why": "unowned", "held": 16})
            ]
            b = await s.start("rb", shards=4)
            await until(lambda: a.engine.shards_owned + b.engine.shards_owned == 16)
            assert {fields["why"] for _, fields in of(said, "shards_given")} == {"balance"}
            handed = [f for _, f in of(said, "shards_taken") if f["why"] == "handed_over"]
            assert {fields["owner_before"] for fields in handed} == {"ra"}
            await trio.sleep(10)
            said.clear()
            theirs = b.engine.shards_owned
            await b.crash()
            await until(lambda: a.engine.shards_owned == 16)
            taken = [fields for _, fields in of(said, "shards_taken")]
            assert sum(fields["count"] for fields in taken) == theirs
            assert len(taken) < theirs
            assert {fields["owner_before"] for fields in taken} == {"rb"}
            assert {fields["why"] for fields in taken} == {"dead_member"}
            assert taken[-1]["held"] == 16

    run(main)


def test_a_replica_that_stops_says_what_it_gives(said: Said) -> None:
    async def main() -> None:
        async with stage(shards=4) as s:
            a = await s.start("ra")
            await a.stop()
            assert of(said, "shards_given") == [
                ("shards_given", {"count": 4, "shards": "0-3", "why": "stop"})
            ]

    run(main)


def test_a_lost_redis_and_the_leases_that_lapse_with_it_are_told_until_it_is_back(
    said: Said,
) -> None:
    async def main() -> None:
        async with stage(shards=4, lease_ttl_ms=1_000) as s:
            a = await s.start("ra")
            said.clear()
            a.runner.go_down("Redis cannot be reached")
            await trio.sleep(70)
            a.runner.come_back()
            await until(lambda: a.engine.shards_owned == 4)
            await trio.sleep(2)
            events = [event for event, _ in said]
            assert sorted(events) == [
                "lease_lapsed",
                "lease_regained",
                "redis_back",
                "redis_lost",
                "redis_still_away",
            ]
            (_, lost), (_, back) = of(said, "redis_lost")[0], of(said, "redis_back")[0]
            assert lost == {"reason": "Redis cannot be reached"}
            assert back["after_s"] == pytest.approx(70, abs=3)
            assert of(said, "lease_lapsed")[0][1] == {"count": 4, "shards": "0-3"}

    run(main)


@pytest.mark.parametrize(
    ("sentence", "why"),
    [
        ("Redis is out of memory", "full"),
        ("Redis is a read-only replica", "read_only"),
        ("Redis is loading its data", "loading"),
        ("Redis cannot save to disk and refuses writes", "cannot_save"),
        ("Redis has too few replicas and refuses writes", "too_few_replicas"),
        ("Redis is busy with a script", "busy"),
        ("Redis does not allow its user the command EVALSHA: give it", "not_allowed"),
        ("no replica of Redis confirmed in time: connect one", "unconfirmed"),
    ],
)
def test_a_redis_that_refuses_is_told_by_a_word_for_why(
    said: Said, sentence: str, why: str
) -> None:
    journal = Journal(
        UserNames(plain=False),
        clock=lambda: 1.0,
        tell=lambda event, **fields: said.append((event, fields)),
    )
    journal.look(sentence)
    assert said == [("redis_refusing", {"why": why, "reason": sentence})]


def test_shards_that_another_replica_has_by_now_are_told_as_lost(said: Said) -> None:
    async def main() -> None:
        async with stage(shards=4, lease_ttl_ms=1_000) as s:
            a = await s.start("ra")
            a.skew_s = 0
            a.runner.go_down()
            b = await s.start("rb", shards=4)
            assert {f["why"] for _, f in of(said, "shards_taken")} == {"unowned", "dead_member"}
            said.clear()
            a.runner.come_back()
            await until(lambda: bool(of(said, "shards_lost")))
            assert of(said, "shards_lost")[0] == (
                "shards_lost",
                {"count": 4, "shards": "0-3", "why": "renewal"},
            )
            assert b.engine.shards_owned

    run(main)


def test_a_hold_is_told_when_it_begins_and_how_it_ends(said: Said) -> None:
    async def main() -> None:
        async with stage() as s:
            a = await s.start("ra")
            for user in ("by-time", "by-hand", "again"):
                await a.engine.hold(user, 10_000)
            await a.engine.unhold("by-hand")
            await a.engine.unhold("nobody")
            await a.engine.hold("again", 100_000)
            await trio.sleep(60)
            ends = [(fields["user"], fields["how"]) for _, fields in of(said, "hold_ended")]
            assert ends == [(named(s, "by-hand"), "by_hand"), (named(s, "by-time"), "by_time")]
            await trio.sleep(60)
            assert of(said, "hold_ended")[-1][1] == {"user": named(s, "again"), "how": "by_time"}
            assert len(of(said, "hold_began")) == 4

    run(main)


def test_a_hold_that_another_replica_released_is_not_told_to_have_run_out(said: Said) -> None:
    async def main() -> None:
        async with stage(shards=2) as s:
            a = await s.start("ra")
            b = await s.start("rb", shards=0)
            await a.engine.hold("ana", 10_000)
            await b.engine.unhold("ana")
            await trio.sleep(60)
            assert [fields["how"] for _, fields in of(said, "hold_ended")] == ["by_hand"]

    run(main)


def test_numbers_that_grow_are_told_at_most_once_a_minute() -> None:
    now, total, told = [0.0], [0], []
    journal = Journal(
        UserNames(plain=False),
        clock=lambda: now[0],
        tell=lambda event, **fields: told.append((now[0], event, fields)),
    )
    journal.watch("accept_errors", lambda: total[0], lambda: {"reason": "EMFILE"})
    for second in range(130):
        now[0], total[0] = float(second), second * 10
        journal.look(None)
    assert [(at, fields["count"]) for at, _, fields in told] == [
        (1.0, 10),
        (61.0, 600),
        (121.0, 600),
    ]
    assert all(fields["reason"] == "EMFILE" for _, _, fields in told)


def test_shards_are_shown_as_ranges_that_do_not_fill_a_line() -> None:
    assert ranges([3, 1, 2, 7]) == "1-3,7"
    assert len(ranges(list(range(0, 16_384, 2)))) < 200

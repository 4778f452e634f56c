"""`shards` and `status`: one screen, from what the service offers."""

from __future__ import annotations

import json

from actor_queue.core.message import Message
from tests.cli.conftest import Ours, Run, Scripted, Terminal

BATCH = {"messages": 3, "attempts": 2, "closed_at": "2025-01-30T01:19:45.120Z"}


def test_shards_shows_replicas_and_owners(run: Run, ours: Ours) -> None:
    out = run("shards", "--url", ours.url).out
    assert "replicas:\nid\tseen ago\tshards\nr-test\t0.9 s\t1\n" in out
    assert "\n0\tr-test\t17\t" in out
    assert json.loads(run("shards", "--json", "--url", ours.url).out)["replicas"]


def test_a_shard_is_one_line_of_a_terminal(scripted: Scripted) -> None:
    shard = {"shard": 16383, "owner": "r-0123456789ab", "epoch": 1795663194793,
             "since": "2025-01-30T01:19:45.120Z", "remaining": 4.9, "waiting": 1234567}  # fmt: skip
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": [shard] * 3})
    terminal = Terminal("shards", "--url", scripted.url)
    assert terminal.end() == 0
    assert len([line for line in terminal.lines if line.startswith("16383  r-0123456789ab")]) == 3
    assert max(map(len, terminal.lines)) <= 80
    assert len(terminal.lines) == 8


def test_a_service_without_replicas_says_so(run: Run, scripted: Scripted) -> None:
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": []})
    out = run("shards", "--url", scripted.url).out
    assert "no replica is alive" in out
    assert "there are no shards" in out


def test_status_says_how_all_is_going(run: Run, ours: Ours) -> None:
    ours.engine.messages["ana"].append(Message("ana", b"{}", 15_000, "m1", False))
    ours.engine.messages["joao"] += [Message("joao", b"{}", 9_000, f"m{n}", False) for n in (1, 2)]
    ours.engine.held_ms["joao"] = 3_000_000
    ours.engine.messages["with-batch"] = []
    ours.engine.bury("b1")
    ours.engine.counters.of("default").delivered = 1_234
    ours.engine.counters.of("default").failed = 5
    said = run("status", "--url", ours.url)
    assert said.status == 0
    lines = dict(line.split(None, 1) for line in said.out.splitlines())
    assert lines["service"] == ours.url
    assert lines["ready"] == "yes"
    assert lines["replicas"] == "1"
    assert lines["shards"] == "2, 1 have no owner; r-test has 1"
    assert lines["collecting"] == "1 with 1 message, the next fires in 15 s"
    assert lines["retrying"] == "1, the oldest batch was closed at 2025-01-30T01:19:45.120Z"
    assert lines["held"] == "1 with 2 messages, the longest for 50 min more"
    assert lines["dead"].startswith("1 dead letter, the newest of 2025-01-30T01:19:45.120Z: ans")
    assert lines["webhook"] == "1,234 batches delivered, 5 failed attempts, 0 dead since the start"
    assert lines["redis"] == "answers; 0 failed calls since the start"


def test_a_message_behind_a_batch_under_way_is_not_said_to_be_collected(
    run: Run, scripted: Scripted
) -> None:
    users = [
        {"user": "a", "state": "retrying", "pending": 1, "batch": BATCH},
        {"user": "b", "state": "delivering", "pending": 2, "batch": BATCH},
    ]
    scripted.answers["/readyz"] = (200, {"status": "ok"})
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": []})
    scripted.answers["/api/dead?limit=1000"] = (200, {"dead": [], "cursor": None})
    scripted.answers["/api/users?limit=1000"] = (200, {"users": users, "cursor": None})
    scripted.answers["/metrics"] = (200, b"")
    lines = dict(
        line.split(None, 1) for line in run("status", "--url", scripted.url).out.splitlines()
    )
    assert lines["collecting"] == "0"
    assert lines["delivering"] == "1"
    assert lines["behind"] == "3 messages behind batches under way"
    report = json.loads(run("status", "--json", "--url", scripted.url).out)["users"]
    assert (report["messages_pending"], report["messages_behind_batches"]) == (3, 3)


def test_status_fits_a_screen(ours: Ours) -> None:
    terminal = Terminal("status", "--url", ours.url)
    assert terminal.end() == 0
    assert len(terminal.lines) <= 24
    assert max(map(len, terminal.lines)) <= 80


def test_status_of_a_service_that_is_not_ready_is_a_no_that_still_says_what_it_can(
    run: Run, ours: Ours
) -> None:
    ours.engine.reason = "Redis is away"
    ours.engine.away = "Redis is away"
    said = run("status", "--url", ours.url)
    assert said.status == 1
    assert "no: the service answered 503: Redis is away" in said.out
    assert "webhook" in said.out
    assert "collecting" not in said.out
    report = json.loads(run("status", "--json", "--url", ours.url).out)
    assert report["ready"] is False
    assert report["users"] is None
    assert report["since_start"]["delivered"] == 0


def test_status_in_json_has_the_numbers(run: Run, ours: Ours) -> None:
    ours.engine.messages["ana"].append(Message("ana", b"{}", 15_000, "m1", False))
    report = json.loads(run("status", "--json", "--url", ours.url).out)
    assert report["users"]["collecting"] == 1
    assert report["dead"] == {"letters": 0, "unreadable": 0, "all": True, "newest": None}
    assert report["ownership"]["shards"] == 2


def test_status_names_the_failure_of_the_oldest_retry(run: Run, scripted: Scripted) -> None:
    older = {**BATCH, "closed_at": "2025-01-29T00:00:00.000Z", "failure": "answered 404"}
    views = [
        {"user": "ana", "state": "retrying", "pending": 0, "batch": BATCH},
        {"user": "joao", "state": "retrying", "pending": 0, "batch": older},
        {"user": "maria", "state": "delivering", "pending": 0, "batch": BATCH},
    ]
    scripted.answers |= {
        "/readyz": (200, {"status": "ok"}),
        "/api/shards": (200, {"replicas": [], "shards": []}),
        "/api/users?limit=1000": (200, {"users": views, "cursor": None}),
        "/api/dead?limit=1000": (200, {"dead": [], "cursor": None}),
        "/metrics": (200, b"actor_queue_failed_total 2.0\nactor_queue_dead_total 1.0\n"),
    }
    terminal = Terminal("status", "--url", scripted.url)
    assert terminal.end() == 0
    assert max(map(len, terminal.lines)) <= 80
    out = run("status", "--url", scripted.url).out
    assert "2, the oldest batch was closed at 2025-01-29T00:00:00.000Z: answered 404" in out
    assert "2 failed attempts, 1 dead since the start" in out
    assert "no dead letters" in out


def test_status_tells_of_dead_letters_that_cannot_be_read(run: Run, scripted: Scripted) -> None:
    scripted.answers["/readyz"] = (200, {"status": "ok"})
    scripted.answers["/api/shards"] = (200, {"replicas": [], "shards": []})
    scripted.answers["/api/users?limit=1000"] = (200, {"users": [], "cursor": None})
    scripted.answers["/metrics"] = (200, b"")
    unread = {"dead": [], "cursor": None, "unreadable": 2}
    scripted.answers["/api/dead?limit=1000"] = (200, unread)
    said = run("status", "--url", scripted.url).out
    assert "no dead letters; 2 more cannot be read, see `actor-queue doctor`" in said

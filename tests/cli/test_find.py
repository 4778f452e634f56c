"""`find`, against a real HTTP server."""

from __future__ import annotations

from dataclasses import replace

from actor_queue.core.history import mark_of
from tests.cli.conftest import Ours, Run
from tests.http.test_attempts import MADE

BATCH = "b0001" + "a" * 20


def test_a_batch_is_shown_with_its_attempts(run: Run, ours: Ours) -> None:
    made = replace(MADE, batch_id=BATCH, marks=mark_of("wamid.1"))
    ours.engine.past = [replace(made, number=2, outcome="delivered", at_ms=made.at_ms + 1), made]
    for name in (BATCH, "wamid.1"):
        said = run("find", name, "--url", ours.url)
        assert said.status == 0
        assert "user: ana\n" in said.out
        assert "where: delivered\n" in said.out
        assert [line.split("\t")[1:3] for line in said.out.splitlines()[-2:]] == [
            ["2", "failed"], ["2", "delivered"],
        ]  # fmt: skip


def test_a_message_that_waits_is_found_with_its_user_and_one_that_nobody_knows_is_a_no(
    run: Run, ours: Ours
) -> None:
    run("send", "ana", "oi", "--ttl", "60", "--message-id", "wamid.2", "--url", ours.url)
    assert "where: waiting\n" in run("find", "wamid.2", "--user", "ana", "--url", ours.url).out
    missing = run("find", "wamid.3", "--url", ours.url)
    assert missing.status == 1
    assert "nothing is known of this id" in missing.err

"""`drop USER --everything`, against a real HTTP server."""

from __future__ import annotations

import json

from tests.cli.conftest import Ours, Run


def test_everything_is_erased_call_after_call_and_the_numbers_are_added_up(
    run: Run, ours: Ours
) -> None:
    ours.engine.bury("b1", "much")
    said = run("drop", "much", "--everything", "--yes", "--url", ours.url)
    assert said.status == 0
    assert "dead: 1\nattempts: 12\nids: 3\n" in said.out
    whole = json.loads(
        run("drop", "much", "--everything", "--yes", "--json", "--url", ours.url).out
    )
    assert (whole["complete"], whole["ids"]) == (True, 3)


def test_a_batch_under_way_is_said_to_go_later(run: Run, ours: Ours) -> None:
    said = run("drop", "with-batch", "--everything", "--yes", "--url", ours.url)
    assert "under way: b-7" in said.out
    assert "when the attempt has ended" in said.err


def test_nothing_is_erased_where_nobody_can_be_asked(run: Run, ours: Ours) -> None:
    ours.engine.bury("b1", "ana")
    said = run("drop", "ana", "--everything", "--url", ours.url)
    assert (said.status, said.out) == (2, "")
    assert "everything about 'ana' would be deleted for ever" in said.err
    assert len(ours.engine.letters) == 1

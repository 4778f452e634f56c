"""`deeds` and `--reason`, against a real HTTP server."""

from __future__ import annotations

import json

from tests.cli.conftest import Ours, Run


def test_what_was_done_to_a_user_is_listed_with_its_reason(run: Run, ours: Ours) -> None:
    run("send", "ana", "oi", "--ttl", "60", "--url", ours.url)
    run("hold", "ana", "--reason", "a person took over", "--url", ours.url)
    run("release", "ana", "--reason", "done", "--url", ours.url)
    run("flush", "ana", "--reason", "now", "--url", ours.url)
    run("drop", "ana", "--yes", "--reason", "asked", "--url", ours.url)
    lines = [line.split("\t") for line in run("deeds", "ana", "--url", ours.url).out.splitlines()]
    assert [line[1] for line in lines] == ["deed", "drop", "flush", "release", "hold"]
    assert [line[3] for line in lines] == ["reason", "asked", "now", "done", "a person took over"]


def test_all_deeds_are_listed_and_none_is_said(run: Run, ours: Ours) -> None:
    assert run("deeds", "--url", ours.url).out == "nothing was done by hand\n"
    for name in ("ana", "bia", "caio"):
        run("hold", name, "--url", ours.url)
    assert len(run("deeds", "--limit", "2", "--url", ours.url).out.splitlines()) == 3
    whole = json.loads(run("deeds", "--json", "--url", ours.url).out)
    assert [each["deed"] for each in whole["deeds"]] == ["hold"] * 3

"""`attempts`, against a real HTTP server."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.cli.conftest import Ours, Run
from tests.http.test_attempts import MADE


@pytest.fixture
def busy(ours: Ours) -> Ours:
    ours.engine.past = [replace(MADE, number=n, user=f"u{n % 2}") for n in range(1_500, 0, -1)]
    return ours


def test_the_last_attempts_are_listed_newest_first_and_beyond_a_page(run: Run, busy: Ours) -> None:
    lines = run("attempts", "--url", busy.url).out.splitlines()
    assert lines[0].split("\t")[:5] == ["at", "user", "outcome", "status", "duration ms"]
    assert [line.split("\t")[5] for line in lines[1:]] == [str(n) for n in range(1_500, 1_450, -1)]
    assert "--cursor" in run("attempts", "--url", busy.url).err
    everything = run("attempts", "--all", "--json", "--url", busy.url).out
    assert len(json.loads(everything)["attempts"]) == 1_500


def test_filters_are_the_service_s_and_what_is_wrong_with_one_is_said(run: Run, busy: Ours) -> None:
    some = run("attempts", "--user", "u1", "--status", "503", "--limit", "3", "--url", busy.url)
    assert [line.split("\t")[1] for line in some.out.splitlines()] == ["user", "u1", "u1", "u1"]
    none = run("attempts", "--outcome", "dead", "--url", busy.url)
    assert (none.status, none.out) == (0, "no attempt that is remembered fits\n")
    wrong = run("attempts", "--since", "soon", "--url", busy.url)
    assert wrong.status == 1
    assert "since must be a time" in wrong.err


def test_no_attempts_is_said(run: Run, ours: Ours) -> None:
    assert run("attempts", "--url", ours.url).out == "no attempt is remembered\n"

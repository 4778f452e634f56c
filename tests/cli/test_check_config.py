"""`check-config`: what the file of AQ_CONFIG says, without secrets, or what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

ROUTE = """
[routes.vendas]
url = "https://n8n.example/webhook/hunter2"
secret = "${VENDAS_SECRET}"
headers = { authorization = "Bearer hunter2" }
retry_schedule = [0.5, 1]
[doors.loja]
kind = "waha"
route = "vendas"
secret = "hunter2hunter2"
"""
SECRET = "whsec_aHVudGVyMi1odW50ZXIyLWh1bnRlcjItaHVudGVyMi0="


def test_it_lists_the_routes_and_shows_no_secret(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "aq.toml"
    file.write_text(ROUTE)
    monkeypatch.setenv("VENDAS_SECRET", SECRET)
    monkeypatch.setenv("AQ_CONFIG", str(file))
    monkeypatch.setenv("WEBHOOK_URL", "https://bot.example/hunter2")
    listed, told = run("check-config"), run("check-config", "--json")
    assert (listed.status, told.status) == (0, 0)
    first, second = json.loads(told.out)["routes"]
    assert (first["route"], first["signed"]) == ("default", False)
    assert second["receiver"].startswith("https://n8n.example/#")
    assert (second["signed"], second["headers"]) == (True, ["authorization"])
    assert second["retry_schedule"] == [0.5, 1.0]
    [door] = json.loads(told.out)["doors"]
    assert (door["door"], door["kind"], door["route"], door["secret"]) == (
        *("loja", "waha", "vendas"),
        True,
    )
    for text in (listed.out, told.out):
        assert "hunter2" not in text
        assert SECRET not in text


def test_a_file_that_cannot_be_used_is_exit_2_and_all_its_sentences(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "aq.toml"
    file.write_text("[routes.a]\nttl = -1\n[routes.b]\n")
    said = run("check-config", "--config", str(file))
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines() == [
        f"actor-queue: {file}, line 2: routes.a.ttl is -1; allowed: seconds from 0 to 31536000,"
        " fractions too",
        f"actor-queue: {file}, line 3: routes.b.url is missing: say where the batches of this"
        " route go",
    ]
    assert run("check-config").status == 2

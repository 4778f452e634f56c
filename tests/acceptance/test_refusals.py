"""What `serve` does not start with: status 2, and a sentence for each wrong variable."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.client import MARK
from tests.acceptance.redis_process import redis_process
from tests.acceptance.service import clean_environment, command, world

pytestmark = pytest.mark.process

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Status and stderr by name; all processes run at the same time."""
    directory = tmp_path_factory.mktemp("refusals")
    with (
        world(AQ_NAMESPACE="usado", AQ_SHARDS="8") as used,
        redis_process() as evicting,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        evicting.configure(maxmemory_policy="allkeys-lru")
        occupied = f"127.0.0.1:{listener.getsockname()[1]}"
        variables = wrong(used.redis.url, evicting.url, occupied)
        started = {name: start(directory, given) for name, given in variables.items()}
        results = {}
        for name, process in started.items():
            _, said = process.communicate(timeout=WITHIN_S)
            results[name] = (process.returncode, said)
    return results


NAMED = {
    "no Redis": "REDIS_URL",
    "no webhook": "WEBHOOK_URL",
    "a Redis that evicts": "AQ_ALLOW_EVICTION",
    "another number of shards": "AQ_SHARDS",
    "an open address without keys": "AQ_API_KEYS",
    "a value out of range": "AQ_LEASE_TTL",
    "an unknown variable": "AQ_MAX_WIAT",
    "a secret that is none": "WEBHOOK_SECRET",
    "an address in use": "AQ_BIND",
    "an address for probes in use": "AQ_PROBE_BIND",
}
"""What is wrong, and the variable to look at."""


def wrong(used_url: str, evicting_url: str, occupied: str) -> dict[str, dict[str, str]]:
    good = {
        "REDIS_URL": used_url,
        "WEBHOOK_URL": f"http://127.0.0.1:9/hook?token={MARK}",
        "AQ_BIND": "127.0.0.1:0",
    }
    changes = {
        "no Redis": {"REDIS_URL": ""},
        "no webhook": {"WEBHOOK_URL": ""},
        "a Redis that evicts": {"REDIS_URL": evicting_url},
        "another number of shards": {"AQ_NAMESPACE": "usado", "AQ_SHARDS": "9"},
        "an open address without keys": {"AQ_BIND": "0.0.0.0:0"},
        "a value out of range": {"AQ_LEASE_TTL": "0.5"},
        "an unknown variable": {"AQ_MAX_WIAT": "5"},
        "a secret that is none": {"WEBHOOK_SECRET": f"{MARK}-no-secret"},
        "an address in use": {"AQ_BIND": occupied},
        "an address for probes in use": {"AQ_PROBE_BIND": occupied},
    }
    return {name: {**good, **change} for name, change in changes.items()}


def start(directory: Path, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("serve"),
        cwd=directory,
        env=clean_environment(**variables),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", NAMED)
def test_serve_refuses_with_status_2_and_one_sentence_that_names_the_variable(
    refusals: dict[str, tuple[int, str]], name: str
) -> None:
    status, said = refusals[name]
    assert status == 2, said
    log_line = re.compile(r"\d{4}-\d\d-\d\dT\S+ \w+ \w+ ")
    sentences = [line for line in said.splitlines() if not log_line.match(line)]
    assert len(sentences) == 1, said
    assert sentences[0].startswith("actor-queue: ")
    assert NAMED[name] in sentences[0]
    assert "Traceback" not in said
    assert MARK not in said


def test_everything_that_is_wrong_is_said_at_once_a_line_each(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"AQ_WORKERS=0\nWEBHOOK_URL={MARK}\n")
    process = start(tmp_path, {"AQ_SHARDS": "0", "AQ_MAX_WIAT": "5"})
    _, said = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 2
    assert MARK not in said
    lines = said.splitlines()
    assert all(line.startswith("actor-queue: ") for line in lines)
    assert sorted(line.split()[1] for line in lines) == [
        "AQ_MAX_WIAT",
        "AQ_SHARDS",
        "AQ_WORKERS",
        "REDIS_URL",
        "WEBHOOK_URL",
    ]

"""The health check of a container asks where the service listens, whichever variable said so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from actor_queue.app.alive import address
from actor_queue.core.settings import parse
from tests.acceptance.service import ROOT, clean_environment, world
from tests.redis_topologies import free_ports

pytestmark = pytest.mark.process

NOWHERE = "http://127.0.0.1:9"


def check(directory: Path, **variables: str) -> tuple[int, str]:
    """Exit status and output of what the Dockerfile runs."""
    done = subprocess.run(
        [sys.executable, *dockerfile_words()[1:]],
        cwd=directory,
        env=clean_environment(HTTP_PROXY=NOWHERE, http_proxy=NOWHERE, **variables),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def dockerfile_words() -> list[str]:
    text = (ROOT / "Dockerfile").read_text()
    [words] = re.findall(r"HEALTHCHECK [^\[]*CMD \[(.*)\]", text)
    return [word.strip(' "') for word in words.split(",")]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"PORT": "9000"}, ("127.0.0.1", 9000)),
        ({"PORT": "9000", "AQ_BIND": "0.0.0.0:7"}, ("127.0.0.1", 7)),
        ({"PORT": "9000", "AQ_BIND": "[::]:7"}, ("::1", 7)),
        ({"AQ_BIND": "10.1.2.3:7"}, ("10.1.2.3", 7)),
        ({"AQ_BIND": "[::]:7", "AQ_PROBE_BIND": "0.0.0.0:8", "PORT": "9"}, ("127.0.0.1", 8)),
    ],
)
def test_it_asks_the_probes_address_then_the_address_then_the_port(
    variables: dict[str, str], expected: tuple[str, int]
) -> None:
    assert address(parse(variables)) == expected


def test_it_finds_a_service_by_any_of_the_three_and_says_when_there_is_none() -> None:
    bound, probes, free = free_ports(3)
    probe_bind = f"127.0.0.1:{probes}"
    with world(AQ_BIND=f"127.0.0.1:{bound}", AQ_PROBE_BIND=probe_bind) as running:
        where = running.service.directory
        assert check(where, PORT=str(bound)) == (0, "")
        assert check(where, PORT=str(free), AQ_BIND=f"127.0.0.1:{bound}") == (0, "")
        assert check(where, AQ_BIND=f"127.0.0.1:{free}", AQ_PROBE_BIND=probe_bind) == (0, "")
        (where / ".env").write_text(f"AQ_PROBE_BIND={probe_bind}\n")
        assert check(where, PORT=str(free)) == (0, "")
        (where / ".env").unlink()
        status, said = check(where, PORT=str(free))
        assert (status, said.count("\n")) == (1, 1)
        assert f"port {free}, does not answer" in said
        assert check(where, PORT="0")[0] == 1


def test_a_service_that_redis_has_left_is_alive() -> None:
    with world() as running:
        running.redis.kill()
        bind = f"127.0.0.1:{running.service.port}"
        assert check(running.service.directory, AQ_BIND=bind) == (0, "")


def test_settings_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    status, said = check(tmp_path, AQ_BIND="nonsense")
    assert status == 1
    assert said.startswith("AQ_BIND is 'nonsense'")

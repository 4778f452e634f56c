"""`doctor` needs no more of Redis than the service does, and repeats nothing that Redis says."""

from __future__ import annotations

import re
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actor_queue.app import doctor
from actor_queue.core.settings import Settings
from tests.cli.conftest import COMMAND
from tests.servers import Server, delete_namespace, fresh_namespace

ROOT = Path(__file__).parents[2]
CANARY = "tres-tigres-tristes"


def recipe() -> list[str]:
    page = (ROOT / "deploy" / "redis-acl.md").read_text()
    block = re.search(r"ACL SETUSER actor-queue (.*?)```", page, re.DOTALL)
    assert block is not None
    return block[1].split()


@contextmanager
def of_few_rights(server: Server, without: str = "") -> Iterator[Settings]:
    namespace = fresh_namespace()
    words = [word.replace("aq:", f"{namespace}:") for word in recipe() if word != without]
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", namespace, "reset", *words)
        try:
            url = f"unix://{namespace}:CHANGE-ME@{server.socket}"
            yield Settings(redis_url=url, namespace=namespace, shards=2)
        finally:
            admin.execute_command("ACL", "DELUSER", namespace)
            delete_namespace(admin, namespace)


def findings(settings: Settings) -> dict[str, tuple[str, str]]:
    return {each.check: (each.level, each.text) for each in doctor.examine(settings)}


def test_the_doctor_finds_nothing_missing_under_the_least_rights(valkey_server: Server) -> None:
    with of_few_rights(valkey_server) as settings:
        found = findings(settings)
    allowed = {"persistence", "webhook"}  # the test's server has no file, the settings no webhook
    assert [each for each, (level, _) in found.items() if level != "ok"] == sorted(allowed)
    assert found["scripts"] == ("ok", "scripts run, with all their rights")


@pytest.mark.parametrize(("right", "named"), [("+zrem", "ZREM"), ("+evalsha", "may not run")])
def test_the_doctor_names_a_right_that_is_missing(
    valkey_server: Server, right: str, named: str
) -> None:
    with of_few_rights(valkey_server, without=right) as settings:
        level, text = findings(settings)["scripts"]
    assert level == "fail"
    assert named in text
    assert "deploy/redis-acl.md" in text


HONEST = {b"PING": b"+PONG\r\n", b"CLIENT": b"+OK\r\n", b"HELLO": b"%1\r\n+proto\r\n:3\r\n"}


class _Liar(socketserver.StreamRequestHandler):
    """Lets a client connect, as Redis does, and then says what the server was told to say."""

    def handle(self) -> None:
        while request := self.rfile.readline():
            words = []
            for _ in range(int(request[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            self.wfile.write(HONEST.get(words[0].upper(), self.server.said))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "said",
    [
        f"-ERR {CANARY}\r\n",
        f"-NOPERM {CANARY}\r\n",
        f"+{CANARY}\r\n",
        f"*2\r\n+{CANARY}\r\n+{CANARY}\r\n",
        f"*2\r\n*1\r\n+{CANARY}\r\n:1\r\n",
        f"%1\r\n+{CANARY}\r\n+{CANARY}\r\n",
        f":{CANARY}\r\n",
        f"!{CANARY}\r\n",
        f"${len(CANARY) + 1}\r\n{CANARY}\xff\r\n",
        f"${len(CANARY) + 12}\r\nused_memory:{CANARY}\r\n",
        "_\r\n",
    ],
)
def test_the_doctor_ends_in_sentences_whatever_redis_sends_and_quotes_none_of_it(
    said: str,
) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Liar) as server:
        server.said = said.encode("latin-1")  # type: ignore[attr-defined]
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        found = doctor.examine(Settings(redis_url=f"redis://127.0.0.1:{server.server_address[1]}"))
        server.shutdown()
    assert ("ok", "redis") in [(each.level, each.check) for each in found]
    assert len(found) > 3
    assert not any(CANARY in each.text for each in found)


def test_a_fault_of_the_command_line_is_placed_and_not_quoted() -> None:
    script = (
        "import sys\n"
        "from actor_queue.app import cli\n"
        f"def broken(*_): raise KeyError({CANARY!r})\n"
        "cli.run = broken\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", script], cwd=ROOT, capture_output=True, check=False, text=True
    )
    assert done.returncode == 1
    assert "KeyError at __main__:3" in done.stderr
    assert CANARY not in done.stderr
    assert done.stderr.count("\n") == 1

"""A server that cannot be reached: the sentence says as much of why as is known, and no secret."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
import trio

from actor_queue.store.api import StoreUnavailable
from actor_queue.transport.address import connector
from actor_queue.transport.asking import ask
from actor_queue.transport.refusals import LOST, UNREACHED, kind_of_trouble, unavailable
from actor_queue.transport.wire import Command
from tests.redis_topologies import HOST, free_ports


def said_of(url: str) -> str:
    async def main() -> None:
        with trio.fail_after(15):
            await ask(await connector(url)(), Command(b"PING", ()))

    with pytest.raises(StoreUnavailable) as caught:
        trio.run(main)
    return caught.value.detail


def test_a_closed_port_and_a_missing_socket_are_told_apart(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    assert (
        said_of(f"redis://:hunter2@{HOST}:{port}") == f"{UNREACHED}: nothing listens at its address"
    )
    missing = said_of(f"unix://:hunter2@{tmp_path / 'none.sock'}")
    assert missing == f"{UNREACHED}: there is no socket at its path"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (socket.gaierror(socket.EAI_NONAME, "hunter2"), ": the name of its host does not resolve"),
        (OSError(errno.EHOSTUNREACH, "hunter2"), ": there is no route to its host"),
        (OSError(errno.ENETUNREACH, "hunter2"), ": there is no route to its host"),
        (PermissionError(errno.EACCES, "hunter2"), ": this process may not connect to it"),
        (ConnectionRefusedError("hunter2"), ": nothing listens at its address"),
        (ConnectionResetError("hunter2"), ""),
    ],
)
def test_each_reason_has_its_words_also_where_a_host_has_several_addresses(
    error: OSError, why: str
) -> None:
    tried = OSError("all attempts failed")
    tried.__cause__ = OSError("one error an address")
    tried.__cause__.__cause__ = ExceptionGroup("each", [ConnectionResetError(), error])
    for cause in (error, tried):
        failed = ConnectionError("hunter2")
        failed.__cause__ = cause
        found = unavailable(failed, executed=False)
        assert found.detail == f"{UNREACHED}{why}"
        assert kind_of_trouble(found.detail) == LOST

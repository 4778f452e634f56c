"""A Valkey of the test's own, which writes to disk and can be killed, frozen and started again."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from tests.servers import Server, running, valkey_binary

DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")


class RedisProcess:
    """Use with `redis_process`. The address stays the same over restarts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._directory / 's.sock'}"

    @property
    def server(self) -> Server:
        assert self._server is not None, "it is not running"
        return self._server

    def client(self) -> redis.Redis:
        """The test's independent eye. The caller closes it."""
        return self.server.client()

    def configure(self, **settings: object) -> None:
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), str(value))

    def start(self) -> None:
        """On the files that are there, and ready for commands when this returns."""
        assert self._server is None
        started = running(valkey_binary(), "valkey", self._directory, *DURABLE)
        self._server = self._stack.enter_context(started)

    def kill(self) -> None:
        """SIGKILL: what was written to the file so far is what is left."""
        self.server.kill()
        self._stack.close()
        self._server = None

    def freeze(self) -> None:
        """Connections stay open and nobody answers: what a half-open connection looks like."""
        os.kill(self.server.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.server.process.pid, signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        if self._server is not None:
            self.thaw()
            self.kill()


@contextmanager
def redis_process() -> Iterator[RedisProcess]:
    """Running when the block begins, gone with its files when it ends."""
    # Short, because the path of a unix socket may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="aq-", ignore_cleanup_errors=True) as name:
        process = RedisProcess(Path(name))
        process.start()
        try:
            yield process
        finally:
            process.close()

"""Who owned which shard when, read from Redis' own records by somebody who is none of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

EVERY_S = 0.1
TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Sample:
    """All leases at some moment between `asked` and `heard` (`time.monotonic`)."""

    asked: float
    heard: float
    owners: tuple[str | None, ...]
    """The replica whose lease is in force, for each shard."""
    epochs: tuple[int, ...]


@dataclass
class Witness:
    """Use with `witnessing`. Takes samples all the time; there are none while Redis is away."""

    socket_path: str
    shards: int
    namespace: str = "aq"
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def look(self) -> Sample:
        """A sample of now. Raises redis.RedisError."""
        with self._client() as client:
            return self._look(client)

    def run(self) -> None:
        with self._client() as client:
            while not self._stop.wait(EVERY_S):
                try:
                    self.samples.append(self._look(client))
                except (redis.RedisError, OSError):
                    client.connection_pool.disconnect()

    def stop(self) -> None:
        self._stop.set()

    def _client(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=self.socket_path,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=TIMEOUT_S,
        )

    def _look(self, client: redis.Redis) -> Sample:
        asked = time.monotonic()
        pipeline = client.pipeline(transaction=True)
        pipeline.time()
        for shard in range(self.shards):
            key = f"{{{self.namespace}:{shard}}}:lease"
            pipeline.hmget(key, ["owner", "epoch", "until"])
        (seconds, micros), *leases = pipeline.execute()
        now_ms = seconds * 1000 + micros // 1000
        owners = tuple(
            owner.decode() if owner and int(until or 0) > now_ms else None
            for owner, _, until in leases
        )
        epochs = tuple(int(epoch or 0) for _, epoch, _ in leases)
        return Sample(asked, time.monotonic(), owners, epochs)


@contextmanager
def witnessing(socket_path: str, shards: int) -> Iterator[Witness]:
    witness = Witness(socket_path, shards)
    thread = threading.Thread(target=witness.run, daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        witness.stop()
        thread.join()

"""The fast server answers as fakeredis does, on the very calls that simulated worlds make."""

from __future__ import annotations

import fakeredis
import redis

from actor_queue.testing.memory import memory_server
from actor_queue.transport.runner import Call, ScriptError
from tests.simulation import redis_server, world

SEEDS = (2, 7)
OPTIONS = ("retention", "jobs", "pending_bytes", "changes")
CALLS_MAX = 500


def test_it_answers_as_fakeredis_does(monkeypatch: object) -> None:
    for seed in SEEDS:
        compared = _Compared()
        original, world.Server = world.Server, compared.server  # type: ignore[misc,assignment]
        try:
            verdict = world.simulate(
                seed, faults=("crash", "webhook_fails", "webhook_gone"), options=OPTIONS
            )
        finally:
            world.Server = original  # type: ignore[misc]
        assert not verdict.failed
        assert compared.calls >= CALLS_MAX
        assert not compared.differences


class _Compared:
    """Builds a server that asks fakeredis the same, as long as that is bearable."""

    def __init__(self) -> None:
        self.calls = 0
        self.differences: list[str] = []

    def server(self, clock: redis_server.Clock, source: object) -> redis_server.Server:
        compared = self
        client = fakeredis.FakeRedis(server=memory_server(clock))
        shas: dict[str, str] = {}

        class Both(redis_server.Server):
            def run(self, call: Call) -> object:
                reply = super().run(call)
                compared.calls += 1
                if compared.calls <= CALLS_MAX:
                    other = _ask(client, shas, call, clock())
                    if other != reply:
                        compared.differences.append(f"{call}: {reply} here, {other} there")
                return reply

        return Both(clock, source)  # type: ignore[arg-type]


def _ask(client: redis.Redis, shas: dict[str, str], call: Call, now_ms: int) -> object:
    name = call.script.name
    if name not in shas:
        shas[name] = str(client.script_load(call.script.plain_source))
    # fakeredis answers TIME from the machine's clock, so a script is told the time instead.
    source = call.script.plain_source
    timed = "clock(ARGV[1])" in source or "tonumber(ARGV[1])" in source
    args = (str(now_ms), *call.args[1:]) if timed else call.args
    try:
        return client.evalsha(shas[name], len(call.keys), *call.keys, *args)
    except redis.ResponseError as error:
        return ScriptError("ERR", str(error), None)

"""The table in `docs/storage.md` against a server that was filled with everything there is."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from actor_queue.core.batch import Attempt, batch_id
from actor_queue.core.history import PastAttempt, mark_of
from actor_queue.core.message import Message
from actor_queue.core.settings import Settings
from actor_queue.core.shard import shard_of
from actor_queue.store.aliases import KEPT_MS as LINKS_KEPT_MS
from actor_queue.store.aliases_api import Sighting
from actor_queue.store.api import Lease
from actor_queue.store.deeds import KEPT_MS as DEEDS_KEPT_MS
from actor_queue.store.deeds_api import Deed
from actor_queue.store.history import KEPT_MS as HISTORY_KEPT_MS
from actor_queue.store.keys import Keys
from actor_queue.store.needs import needs_of
from actor_queue.store.redis import FORMAT, RedisStore
from actor_queue.store.replay import KEPT_MS
from actor_queue.transport.server import connected
from tests.servers import Server

PAGE = Path(__file__).parents[2] / "docs" / "storage.md"
LEVELS_BYTES = 24 * 16
"""The levels of a sorted set's skip list are drawn by lot; a few entries hardly ever draw more."""
ROUNDED = 1.25
DAY_MS = 86_400_000
HOLD_MS = 2 * DAY_MS
REPLICA = "r-0123456789abcdef"
STAYS = {"due", "lease", "members", "modes", "meta", "routes"}
"""Besides what expires, all that may be left when nothing waits and nothing is dead."""


@dataclass(frozen=True)
class Row:
    """A kind of key, as the page describes it."""

    name: str
    pattern: re.Pattern[bytes]
    expires: str
    key_bytes: int
    entry_bytes: int


def rows(namespace: str) -> list[Row]:
    found = []
    for line in PAGE.read_text().splitlines():
        if not line.startswith("| `"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        spelled = re.escape(cells[0].strip("`"))
        spelled = re.sub(r"<[^>]*>", ".+", spelled.replace("aq:7", f"{namespace}:[0-9]+"))
        spelled = spelled.removeprefix("aq:").replace("{aq:", f"{{{namespace}:")
        if namespace not in spelled:
            spelled = f"{re.escape(namespace)}:{spelled}"
        key_bytes, entry_bytes = map(int, cells[5].split(" + "))
        name = re.sub(r".*\}:|^aq:|:<.*", "", cells[0].strip("`"))
        pattern = re.compile(spelled.encode(), re.DOTALL)
        found.append(Row(name, pattern, cells[4], key_bytes, entry_bytes))
    return found


class Filled:
    """A store of one namespace in which a test can do what happens to messages."""

    def __init__(self, store: RedisStore, lease: Lease) -> None:
        self.store, self.lease = store, lease
        self.serial = 0
        self.under_way: Attempt | None = None
        self.forgotten: Attempt | None = None

    async def post(self, user: str, text: str, ttl_ms: int, count: int = 1) -> None:
        messages = []
        for _ in range(count):
            self.serial += 1
            body = json.dumps({"user": user, "message": text}).encode()
            name = f"wamid.{self.serial:030d}"
            messages.append(Message(user, body, ttl_ms, name, remembered=True))
        await self.store.append(messages)

    async def attempt(self, user: str) -> Attempt:
        self.serial += 1
        name = batch_id(self.lease.shard, f"{self.serial:020x}")
        claim = await self.store.claim(self.lease, user, f"{REPLICA}/{self.serial:020x}", name)
        assert isinstance(claim, Attempt)
        return claim

    async def bury(self, user: str, text: str) -> str:
        await self.post(user, text, 0)
        attempt = await self.attempt(user)
        await self.store.bury(self.lease, attempt, 410, "answered 410", "x" * 300, 12)
        return attempt.batch.id


async def fill(f: Filled) -> None:
    """Short and long, one and many, of every kind."""
    await f.post("5511987654321@c.us", "oi", 600_000)
    await f.post("w" * 512, "x" * 100, 600_000, count=300)
    await f.post("é\x00🙂", "x" * 50_000, 600_000, count=3)
    await f.post("lote", "x" * 100, 600_000, count=1_100)  # more than one batch has
    for number in range(22):
        await f.post("voando", "x" * 100, 0, count=20)
        attempt = f.under_way = await f.attempt("voando")
        if number < 21:
            await f.store.retry(f.lease, attempt, 0, 503, "answered 503", "é" * 150, 12)
            await f.store.ack(await f.attempt("voando"), 200)
    for text in ("oi", "x" * 20_000):
        await f.bury(f"morto-{len(text)}", text)
    replayed = await f.bury("de novo", "x")
    await f.store.hold("de novo", HOLD_MS)
    await f.store.dead_replay(replayed)
    await f.store.replay_tell(await f.store.replay_begin("replay-m-1"), over=False)
    await f.store.replay_stop()
    await f.store.hold("mudo", HOLD_MS)
    for _ in range(25):
        await f.store.deed_add(Deed("hold", "ana", "r" * 300, 3_600.0, None, "0" * 16), "mudo")
    await f.post("esquecida", "x", 0)
    f.forgotten = await f.attempt("esquecida")
    await f.store.erase("esquecida", None)
    for n in range(10):
        await f.store.attempts_add([(0, past("5511987654321@c.us", 3, n))] * 100)
    for route in ("default", "vendas", "r" * 64):
        await f.store.route_open(route, "é" * 400, 0)
        await f.store.route_pause(route, "ana", "é" * 400)
    assert await f.store.alert_turn("nothing_delivered", 60_000)
    for hidden, phone in (("loja:1@lid", "loja:5511987654321@c.us"), ("h" * 512, "p" * 512)):
        await f.store.whereabouts([Sighting(hidden, phone), Sighting(f"{hidden[:-1]}2", phone)])
        await f.store.whereabouts([Sighting(f"{hidden[:-1]}3", None, "m", True, DAY_MS)])
    for n in range(3):
        await f.store.sign_out(f"{n:016x}", 4_000_000_000)
    for n in range(120):
        await f.store.own_message("mudo", f"3EB{n:030d}", 3_600_000)
    await f.store.sent_messages("w" * 512, ["m" * 512])
    for name in ("entregue", "entregue também"):
        await f.post(name, "oi", 0)
        await f.store.ack(await f.attempt(name), 200, 12)


async def end_everything(f: Filled) -> None:
    """What waits is dropped or delivered, and every dead letter is old."""
    for user in ("5511987654321@c.us", "w" * 512, "é\x00🙂", "lote", "de novo"):
        await f.store.drop(user)
    assert f.under_way is not None
    await f.store.ack(f.under_way, 200)
    assert f.forgotten is not None
    await f.store.ack(f.forgotten, 200)
    assert await f.store.erase_rest([0]) == 1
    await trio.sleep(0.01)
    expired = await f.store.dead_expire(f.lease, 1, 100, 0)
    assert expired is not None
    assert (expired.dropped, expired.kept) == (3, 0)


def played(server: Server, namespace: str, *acts: Callable[[Filled], Awaitable[None]]) -> Settings:
    settings = Settings(redis_url=server.url, namespace=namespace, shards=1)

    async def main() -> None:
        needs = needs_of(Keys(namespace, 1).meta, 1, FORMAT)
        async with connected(server.url, needs) as runner:
            await runner.prepare()
            store = RedisStore(runner, settings, replica=REPLICA)
            await store.check(allow_eviction=True)
            await store.heartbeat(REPLICA, 5_000)
            (lease,) = await store.acquire([shard_of("", 1)], REPLICA, "n" * 20, 600_000)
            assert isinstance(lease, Lease)
            filled = Filled(store, lease)
            for act in acts:
                await act(filled)

    trio.run(main)
    return settings


def contents(eye: redis.Redis, key: bytes) -> list[bytes]:
    """The texts of a key, an element for each entry."""
    ours: Any = eye
    match ours.type(key):
        case b"string":
            return [ours.get(key)]
        case b"list":
            return list(ours.lrange(key, 0, -1))
        case b"hash":
            return [name + value for name, value in ours.hgetall(key).items()]
        case b"zset":
            return list(ours.zrange(key, 0, -1))
        case kind:
            raise AssertionError(f"no key of ours is a {kind}")


def kept(eye: redis.Redis, namespace: str) -> list[tuple[bytes, Row]]:
    """Every key of the namespace, with its row."""
    table = rows(namespace)
    found = []
    for key in eye.scan_iter(match=f"*{namespace}:*", count=1_000):
        matching = [row for row in table if row.pattern.fullmatch(key)]
        assert len(matching) == 1, (key, [row.name for row in matching])
        found.append((key, matching[0]))
    return found


def test_every_kind_of_key_has_a_row_its_expiry_and_no_more_bytes_than_the_row_says(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    settings = played(server, namespace, fill)
    limits_ms = {
        "no": -1,
        "1 day": DAY_MS,
        "1 day, or the end of a hold if that is later": HOLD_MS,
        "`AQ_DEDUP_WINDOW`": settings.dedup_window_ms,
        "1 hour": KEPT_MS,
        "30 days": HISTORY_KEPT_MS,
        "1 day, or the hold of a door if that is longer": DAY_MS,
        "31 days": LINKS_KEPT_MS + DAY_MS,
        "90 days": DEEDS_KEPT_MS,
        "3 hours": 3 * 3_600_000,
        "13 hours": 13 * 3_600_000,
        "1 minute": 60_000,
    }
    found = kept(eye, namespace)
    assert {row.name for _, row in found} == {row.name for row in rows(namespace)}
    for key, row in found:
        left_ms = int(eye.pttl(key))
        waits = row.name == "u" and left_ms == -1
        if row.expires == "no":
            assert left_ms == -1, key
        elif waits:
            assert eye.zscore(Keys(namespace, 1).shards[0].due, key.split(b":u:", 1)[1]) is not None
        else:
            assert 0 < left_ms <= limits_ms[row.expires], key
        entries = contents(eye, key)
        texts = len(key) + sum(map(len, entries))
        used: Any = eye.execute_command("MEMORY", "USAGE", key, "SAMPLES", 0)
        allowed = row.key_bytes + row.entry_bytes * len(entries) + ROUNDED * texts
        allowed += LEVELS_BYTES if eye.type(key) == b"zset" else 0
        assert used <= allowed, (row.name, key, used, allowed, len(entries))


def test_when_nothing_waits_and_the_dead_are_gone_all_that_stays_is_small_or_expires(
    server: Server, eye: redis.Redis, namespace: str
) -> None:
    played(server, namespace, fill, end_everything)
    found = kept(eye, namespace)
    stays = [(key, row) for key, row in found if int(eye.pttl(key)) == -1]
    assert {row.name for _, row in stays} <= STAYS
    assert len(stays) <= len(STAYS)
    expiring = {row.name for key, row in found if int(eye.pttl(key)) > 0}
    assert expiring == {
        "u", "h", "id", "replay", "attempts", "erased", "alert", "by", "deeds", "to", "of", "own",
        "signed_out",
    }  # fmt: skip


@pytest.mark.parametrize(("messages", "user"), [(3, "5511987654321@c.us"), (12, "u" * 64)])
def test_an_attempt_takes_at_most_300_bytes_of_the_history(
    server: Server, eye: redis.Redis, namespace: str, messages: int, user: str
) -> None:
    async def remember(f: Filled) -> None:
        for n in range(10):
            parcel = [(0, past(user, messages, 100 * n + m)) for m in range(100)]
            await f.store.attempts_add(parcel)

    played(server, namespace, remember)
    used: Any = eye.execute_command("MEMORY", "USAGE", f"{namespace}:attempts", "SAMPLES", 0)
    assert used <= 300 * 1_000


def past(user: str, messages: int, number: int) -> PastAttempt:
    """One with a long answer to everything."""
    marks = b"".join(mark_of(f"wamid.{number}.{n}") for n in range(messages))
    batch = batch_id(1_000, f"{number:020x}")
    reason = "connection refused after the name was looked up and found"
    return PastAttempt(
        user, batch, 6, "dead", 503, reason, 30_000, messages, 262_144, REPLICA, marks
    )

"""What a start that fails can find out about its REDIS_URL: a wrong protocol, a database that the
server does not have. The sentences name the variable that was set.
"""

from __future__ import annotations

from dataclasses import dataclass

from actor_queue.core.setting_kinds import quoted
from actor_queue.core.settings import RedisVariable
from actor_queue.core.url import MANY_NODE_SCHEMES, split
from actor_queue.transport.address import Place, connector, nodes, scheme_of
from actor_queue.transport.asking import ask
from actor_queue.transport.errors import StoreMisconfigured, StoreUnavailable
from actor_queue.transport.protocol import Protocol, spoken_at
from actor_queue.transport.refusals import NoSuchDatabase, kind_of_trouble
from actor_queue.transport.wire import Command

ASK_DATABASES = Command(b"CONFIG", ("GET", "databases"))


@dataclass(frozen=True, slots=True)
class Aim:
    """Where the service wants to connect, as it was configured."""

    url: str
    set_by: RedisVariable = "REDIS_URL"

    async def explained(self, error: StoreUnavailable) -> StoreMisconfigured | None:
        """Why the start failed with `error`, if it is wrong in a way that stays; else None."""
        if isinstance(error, NoSuchDatabase):
            return StoreMisconfigured(no_such_database(self.database, await self._databases()))
        refused = kind_of_trouble(error.detail) == "wrong_credentials"
        if refused and self.password_doubt:
            return StoreMisconfigured(f"{error.detail}{self.password_doubt}")
        found = await spoken_at(self.places)
        sentence = None if found is None else self.mismatch(*found)
        return None if sentence is None else StoreMisconfigured(sentence)

    def mismatch(self, place: Place, spoken: Protocol) -> str | None:
        """What is wrong if `place` speaks that; None if nothing is."""
        where = f"port {place.port} of {place.host}"
        if spoken == "http":
            variable = "REDIS_PORT" if self.set_by == "REDIS_HOST" else "the port in REDIS_URL"
            return f"{where} speaks HTTP, so it is no Redis: correct {variable}"
        if (spoken == "tls") == self.tls:
            return None
        if self.tls:
            change = "take tls=true away" if self._many else "use redis:// instead of rediss://"
            return f"{where} does not speak TLS: {change} in REDIS_URL"
        if self.set_by == "REDIS_HOST":
            change = "use rediss://, that is, set REDIS_URL=rediss://… instead of REDIS_HOST"
        else:
            many = "add ?tls=true at the end of REDIS_URL"
            change = many if self._many else "use rediss:// instead of redis:// in REDIS_URL"
        return f"{where} speaks TLS: {change}"

    @property
    def places(self) -> tuple[Place, ...]:
        """The servers or sentinels that are named; none for a socket of this machine."""
        if self._many:
            return nodes(self.url).seeds
        if scheme_of(self.url) == "unix":
            return ()
        host = split(self.url).host()
        return (Place(host.name, host.port or 6379),)

    @property
    def password(self) -> str:
        """The one that is sent; empty if none is."""
        return split(self.url).password

    @property
    def password_doubt(self) -> str:
        """The end of a sentence about a password that is refused: what may have been taken along
        into it. Empty if nothing was."""
        password = self.password
        if password and (quoted(password) or password != password.strip()):
            return (
                "; it begins or ends with a space or a quotation mark, which may not belong to it"
            )
        return ""

    @property
    def tls(self) -> bool:
        """Whether it is to be spoken."""
        return scheme_of(self.url) == "rediss" or (
            self._many and "tls=true" in split(self.url).query.split("&")
        )

    @property
    def database(self) -> int:
        """The number that is asked for."""
        parts = split(self.url)
        if parts.scheme == "unix":
            options = dict(word.split("=", 1) for word in parts.query.split("&") if "=" in word)
            text = options.get("db", "")
        else:
            text = parts.path.rpartition("/")[2]
        return int(text) if text.isdigit() else 0

    @property
    def _many(self) -> bool:
        return scheme_of(self.url) in MANY_NODE_SCHEMES

    async def _databases(self) -> int | None:
        """How many the server has; None if it does not tell."""
        if self._many:
            return None
        try:
            reply = await ask(await connector(without_database(self.url))(), ASK_DATABASES)
        except (StoreUnavailable, StoreMisconfigured):
            return None
        words = list(reply.values()) if isinstance(reply, dict) else reply
        last = words[-1] if isinstance(words, list) and words else b""
        return int(last) if isinstance(last, bytes) and last.isdigit() else None


def without_database(url: str) -> str:
    """The address of the same single server, whose first database is used."""
    before, found, query = url.partition("?")
    if scheme_of(url) == "unix":
        options = [word for word in query.split("&") if not word.startswith("db=")]
        return before + ("?" + "&".join(options) if options != [""] and options else "")
    scheme, _, rest = before.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}{found}{query}"


def no_such_database(asked: int, there_are: int | None) -> str:
    """The sentence. `there_are` is None where the server does not tell."""
    if there_are is None or there_are <= asked:
        count = (
            "" if there_are is None else f": this Redis has {there_are}, from 0 to {there_are - 1}"
        )
        return f"database {asked} is out of range{count}; correct the number in REDIS_URL"
    return f"database {asked} cannot be used: a node of a Redis Cluster has only database 0"

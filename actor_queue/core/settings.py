"""The settings as the program has them, and how texts become them.

`parse` turns a mapping of names to texts into `Settings`, by the table in `core.variables`, or
raises `SettingsError`, which names everything that is wrong and not only the first thing: who has
five mistakes corrects them in one go. It reads no environment itself.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from actor_queue.core import setting_kinds as kinds
from actor_queue.core.api_keys import ApiKey
from actor_queue.core.batch import Order, PayloadMode
from actor_queue.core.upkeep import DAY_MS
from actor_queue.core.url import Unusable, split
from actor_queue.core.variables import BY_NAME, PREFIX, VARIABLES, Variable

SHOWN_CHARS_MAX = 80
MIB = 1_048_576

Durability = Literal["memory", "fsync", "replica"]
Answering = Literal["now", "later"]
"""Whether a receiver has done its work when it answers, or may answer 202 and say so afterwards."""
Networks = Literal["any", "public"]
"""Where webhooks may go; link-local and metadata addresses are in neither."""
LogForm = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
RedisVariable = Literal["REDIS_URL", "REDIS_HOST"]
Serving = Literal["replica", "edge"]
"""What the settings are for. An edge takes messages and sends no webhook."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with the configuration."""

    names: tuple[str, ...]
    """The variables that it is about; none where a whole file cannot be read."""
    sentence: str
    """What is wrong and what to do, on one line and without secrets."""


class SettingsError(ValueError):
    """The configuration cannot be used. `mistakes` has everything that is wrong with it; the text
    is their sentences, one a line."""

    def __init__(self, *mistakes: Mistake | str) -> None:
        assert mistakes, "an error about nothing"
        self.mistakes: tuple[Mistake, ...] = tuple(
            Mistake((), each) if isinstance(each, str) else each for each in mistakes
        )
        super().__init__("\n".join(self.sentences))

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each once, in the order in which they were found."""
        return tuple(dict.fromkeys(mistake.sentence for mistake in self.mistakes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Units are in the names; 0 means off where a comment says so. `.env.example` has a sentence
    about each, under the name that it has there: `default_ttl_ms` is AQ_DEFAULT_TTL.

    What is allowed is what is allowed there. Raises `SettingsError`, a ValueError that names every
    field that is wrong, its value (never a secret's) and what is allowed. The `repr` shows no
    secret.
    """

    redis_url: str | None = field(default=None, repr=False)
    redis_set_by: RedisVariable = "REDIS_URL"  # what somebody wrote, for sentences that name it
    redis_password_unused: bool = False  # REDIS_PASSWORD was set beside a REDIS_URL without it
    webhook_url: str | None = field(default=None, repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    webhook_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    config: str | None = None
    alert_url: str | None = field(default=None, repr=False)
    bind: str = "127.0.0.1:8000"
    probe_bind: str | None = None
    max_connections: int = 8_000
    max_per_address: int = 0  # 0 = an eighth of max_connections
    min_pace: int = 1_000  # bytes per second; 0 = off
    workers: int = 1
    default_ttl_ms: int = 15_000
    max_ttl_ms: int = 86_400_000
    max_wait_ms: int = 0  # 0 = off
    max_messages: int = 500
    max_batch_bytes: int = 0  # 0 = the greater of 1 MiB and twice max_body_bytes; never 0 later
    max_body_bytes: int = 262_144
    max_pending: int = 10_000
    max_pending_bytes: int = 67_108_864
    redis_reserve_bytes: int | None = None  # None = by the server's maxmemory
    dedup_window_ms: int = 3_600_000
    retry_schedule_ms: tuple[int, ...] = (1_000, 5_000, 15_000, 60_000, 300_000)
    dead_retention_days: float = 0.0  # 0 = for ever
    history: int = 10_000  # attempts; 0 = none
    webhook_timeout_ms: int = 30_000
    max_deliveries: int = 100
    webhook_networks: Networks = "any"
    answer: Answering = "now"
    answer_within_ms: int = 120_000
    answer_secrets: tuple[str, ...] = field(default=(), repr=False)
    max_actors: int = 50_000
    payload: PayloadMode = "classic"
    order: Order = "arrival"
    shards: int = 64
    lease_ttl_ms: int = 5_000
    namespace: str = "aq"
    durability: Durability = "memory"
    api_keys: tuple[ApiKey, ...] = field(default=(), repr=False)
    allow_anonymous: bool = False
    key_for_metrics: bool = False
    allow_eviction: bool = False
    data_dir: str = "./data"
    root_path: str = ""
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ()
    door_evolution_secrets: tuple[str, ...] = field(default=(), repr=False)
    door_waha_secrets: tuple[str, ...] = field(default=(), repr=False)
    door_cloud_secrets: tuple[str, ...] = field(default=(), repr=False)
    door_cloud_verify_token: str | None = field(default=None, repr=False)
    door_chatwoot_secrets: tuple[str, ...] = field(default=(), repr=False)
    door_telegram_secrets: tuple[str, ...] = field(default=(), repr=False)
    log: LogForm = "text"
    log_level: LogLevel = "info"
    log_users: bool = False

    def __post_init__(self) -> None:
        mistakes = list(_wrong_values(self))
        wrong = {name for mistake in mistakes for name in mistake.names}
        if BY_NAME.keys() - wrong >= {"AQ_DEFAULT_TTL", "AQ_MAX_TTL"}:
            mistakes += _contradictions(self)
        if mistakes:
            raise SettingsError(*mistakes)
        if self.max_batch_bytes == 0:
            object.__setattr__(self, "max_batch_bytes", max(MIB, 2 * self.max_body_bytes))

    @classmethod
    def from_env(cls, dotenv_path: Path | str | None = ".env") -> Settings:
        """From the environment, then the file `dotenv_path` (None: no file), as `actor-queue serve`
        reads them; the environment wins. A file that does not exist is no error.

        Raises `SettingsError` with everything that is wrong in both.
        """
        if read_environment is None:
            raise RuntimeError("import Settings from actor_queue: the core reads no environment")
        return read_environment(dotenv_path)

    @property
    def dead_retention_ms(self) -> int:
        """0 = for ever."""
        return round(self.dead_retention_days * DAY_MS)

    @property
    def host(self) -> str:
        """Where `bind` listens, without the brackets of IPv6."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0 lets the system choose."""
        return int(self.bind.rpartition(":")[2])

    @property
    def loopback_only(self) -> bool:
        """Whether only this machine can connect. Of the names, only localhost counts as such."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


read_environment: Callable[[Path | str | None], Settings] | None = None
"""What `Settings.from_env` calls. `app.environment` puts it here, because nothing in the core looks
at the environment or at files."""


_DEFAULTS: Mapping[str, object] = {each.name: each.default for each in fields(Settings)}


def parse(values: Mapping[str, str], *, serving: Serving | bool = False) -> Settings:
    """Settings from texts by outside name; names that are not ours are ignored.

    An empty text is the same as none. `AQ_BIND` wins over `PORT`, `REDIS_URL` over
    `REDIS_HOST` and its companions. With `serving` (True: a replica), what that cannot do without
    must be there. Raises `SettingsError` with every mistake.
    """
    reader = _Reader(values)
    found = reader.fields()
    mistakes = [*unknown_names(values), *reader.mistakes]
    wrong = {name for mistake in mistakes for name in mistake.names}
    settings = None
    try:
        settings = Settings(**found)
    except SettingsError as error:
        mistakes += _untouched(error.mistakes, wrong)
    if serving:
        needed = Settings(**{name: found[name] for name in _NEEDED if name in found})
        edge = serving == "edge"
        refused = refusals_to_serve(needed, bind_set_by=reader.bind_set_by, edge=edge)
        mistakes += _untouched([_with_near_names(each, values) for each in refused], wrong)
    if settings is None or mistakes:
        raise SettingsError(*mistakes)
    return settings


_INJECTED_NAME = re.compile(
    r"AQ_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+(?:_\w+)?)", re.ASCII
)
_INJECTED_PORT = re.compile(r"AQ_(?:\w+_)?PORT=(?:tcp|udp|sctp)://.*", re.ASCII | re.DOTALL)


def injected(name: str, value: str) -> bool:
    """Whether a container platform has set `name`, for a service that is called aq or aq-….

    Kubernetes gives every container AQ_SERVICE_HOST, AQ_SERVICE_PORT, AQ_SERVICE_PORT_HTTP,
    AQ_PORT=tcp://10.0.0.1:80, AQ_PORT_80_TCP, AQ_PORT_80_TCP_ADDR and more of that form.
    """
    if name in BY_NAME:
        return False
    return bool(_INJECTED_NAME.fullmatch(name) or _INJECTED_PORT.fullmatch(f"{name}={value}"))


def unknown_names(values: Mapping[str, str]) -> list[Mistake]:
    """A mistake for each name that looks like one of ours and is none; not for `injected` ones."""
    mistakes = []
    known = {name.removeprefix(PREFIX): name for name in BY_NAME}
    for name in sorted(values):
        ours = name.startswith(PREFIX) and name not in BY_NAME
        if ours and not injected(name, values[name]):
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1, cutoff=0.7)
            hint = (
                f"did you mean {known[near[0]]}?"
                if near
                else "the names are listed in .env.example"
            )
            mistakes.append(Mistake((name,), f"{name} is not a setting; {hint}"))
    return mistakes


_NEAR = 0.85
"""How alike two names are of which one may be a slip of the other: REDIS_URL and REDIS_URI are."""


def _with_near_names(mistake: Mistake, values: Mapping[str, str]) -> Mistake:
    """If something that is missing may have been set under a wrong name, say which.

    Not for names that start with AQ_: `unknown_names` refuses each of those that is wrong.
    """
    if mistake.names[0].startswith(PREFIX):
        return mistake
    names = [
        name
        for name in sorted(values)
        if re.fullmatch(r"\w{1,40}", name, re.ASCII)
        and name not in BY_NAME
        and values[name].strip()
    ]
    for name in names:
        near = difflib.get_close_matches(name.upper(), mistake.names, n=1, cutoff=_NEAR)
        if near:
            sentence = f"{mistake.sentence}; {name} is set: did you mean {near[0]}?"
            return Mistake(mistake.names, sentence)
    return mistake


_NEEDED = ("redis_url", "webhook_url", "config", "bind", "api_keys", "allow_anonymous")
"""The fields that `refusals_to_serve` looks at."""


def refusals_to_serve(
    settings: Settings, *, bind_set_by: str = "AQ_BIND", edge: bool = False
) -> list[Mistake]:
    """Why `serve`, or an edge, must not start with these settings; empty if it may. `bind_set_by`
    is the variable to name, AQ_BIND or PORT."""
    mistakes = []
    if settings.redis_url is None:
        mistakes.append(
            Mistake(
                ("REDIS_URL", "REDIS_HOST", "REDIS_PORT"),
                "REDIS_URL is not set: say where Redis is, for example"
                " REDIS_URL=redis://localhost:6379/0, or use `actor-queue dev`, which brings its"
                " own",
            )
        )
    if settings.webhook_url is None and settings.config is None and not edge:
        mistakes.append(
            Mistake(
                ("WEBHOOK_URL",),
                "WEBHOOK_URL is not set: say where batches go,"
                " for example WEBHOOK_URL=https://bot.example/webhook",
            )
        )
    if not (settings.api_keys or settings.allow_anonymous or settings.loopback_only):
        listens = (
            f"AQ_BIND is {settings.bind!r}"
            if bind_set_by == "AQ_BIND"
            else f"PORT is {settings.port}, which means AQ_BIND={settings.bind},"
        )
        mistakes.append(
            Mistake(
                ("AQ_BIND", "PORT", "AQ_API_KEYS", "AQ_ALLOW_ANONYMOUS"),
                f"{listens} and AQ_API_KEYS is not set, so anybody could call:"
                " set AQ_API_KEYS, bind 127.0.0.1, or set AQ_ALLOW_ANONYMOUS=true",
            )
        )
    return mistakes


def _wrong_values(settings: Settings) -> Iterator[Mistake]:
    """A mistake for each field whose value the environment could not have brought. The values that
    it could are put into the form in which it would have brought them."""
    for variable in VARIABLES:
        name = variable.field
        if name is None:
            continue
        value, default = getattr(settings, name), _DEFAULTS[name]
        if type(value) is type(default) and value in (default, ()):
            continue
        text = ""
        try:
            text = variable.kind.write(value)
            read = variable.kind.read(text)
        except (TypeError, ValueError) as error:
            trouble = _trouble(text, error) if text and isinstance(error, ValueError) else ""
            shown = _shown(variable, text) if variable.secret else _cut(repr(value))
            yield Mistake(
                (variable.name,),
                f"{name} is {shown}{trouble}; allowed: {variable.kind.typed or variable.allowed}",
            )
        else:
            object.__setattr__(settings, name, read)


def _contradictions(settings: Settings) -> Iterator[Mistake]:
    if settings.default_ttl_ms > settings.max_ttl_ms:
        yield Mistake(
            ("AQ_DEFAULT_TTL", "AQ_MAX_TTL"),
            f"AQ_DEFAULT_TTL (default_ttl_ms) is {settings.default_ttl_ms / 1000:g}; allowed: "
            f"at most AQ_MAX_TTL (max_ttl_ms), which is {settings.max_ttl_ms / 1000:g}",
        )
    if settings.key_for_metrics and not settings.api_keys:
        yield Mistake(
            ("AQ_KEY_FOR_METRICS", "AQ_API_KEYS"),
            "AQ_KEY_FOR_METRICS is true and AQ_API_KEYS is not set, so no key could be asked for:"
            " set AQ_API_KEYS too",
        )
    if settings.probe_bind == settings.bind and settings.port:
        yield Mistake(
            ("AQ_PROBE_BIND", "AQ_BIND"),
            f"AQ_PROBE_BIND is {settings.probe_bind}, and so is AQ_BIND: give it another port",
        )
    authorized = any(name == "authorization" for name, _ in settings.webhook_headers)
    if authorized and settings.webhook_url and split(settings.webhook_url).userinfo:
        yield Mistake(
            ("WEBHOOK_HEADERS", "WEBHOOK_URL"),
            "WEBHOOK_HEADERS has an authorization, and so has the user in WEBHOOK_URL:"
            " take one of them away",
        )


def _untouched(mistakes: Iterable[Mistake], wrong: Set[str]) -> list[Mistake]:
    """Those that say something new: a value that could not be read explains all that it is in."""
    return [mistake for mistake in mistakes if wrong.isdisjoint(mistake.names)]


class _Reader:
    """Reads every text, and keeps a mistake for each one that is not allowed."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.mistakes: list[Mistake] = []
        stripped = {name: text.strip() for name, text in values.items() if name in BY_NAME}
        self._given = {name: text for name, text in stripped.items() if text}
        # A file that holds a secret often ends with a line break that nobody meant; a space at
        # either end may be part of the password.
        self._password = values.get("REDIS_PASSWORD", "").strip("\r\n")

    @property
    def bind_set_by(self) -> str:
        """Which of the two variables says where to listen, if any does."""
        return "PORT" if "PORT" in self._given and "AQ_BIND" not in self._given else "AQ_BIND"

    def fields(self) -> dict[str, Any]:
        """The fields of `Settings` that were given and could be read."""
        read = {
            variable.field: self._read(variable)
            for variable in VARIABLES
            if variable.field is not None and variable.name in self._given
        }
        if self.bind_set_by == "PORT":
            port = self._read(BY_NAME["PORT"])
            read["bind"] = None if port is None else f"0.0.0.0:{port}"
        if "REDIS_HOST" in self._given and "REDIS_URL" not in self._given:
            read["redis_url"] = self._redis_url()
            read["redis_set_by"] = "REDIS_HOST"
        elif self._password and isinstance(url := read.get("redis_url"), str):
            # Platforms set all of them; where they agree, nothing is lost.
            read["redis_password_unused"] = split(url).password != self._password
        return {name: value for name, value in read.items() if value is not None}

    def _redis_url(self) -> str | None:
        host, port = self._read(BY_NAME["REDIS_HOST"]), self._read(BY_NAME["REDIS_PORT"])
        if host is None or port is None:
            return None
        userinfo = f":{quote(self._password, safe='')}@" if self._password else ""
        return f"redis://{userinfo}{host}:{port}"

    def _read(self, variable: Variable) -> object:
        """None where the text is not allowed."""
        text = self._given.get(variable.name, variable.default)
        try:
            return variable.kind.read(text)
        except ValueError as error:
            sentence = (
                f"{variable.name} is {_shown(variable, text)}{_trouble(text, error)};"
                f" allowed: {variable.allowed}"
            )
            self.mistakes.append(Mistake((variable.name,), sentence))
            return None


def _trouble(text: str, error: ValueError) -> str:
    """What more is known. Any other error may quote the value, which may be secret."""
    if kinds.quoted(text):
        return ": the quotation marks belong to it here, so take them away"
    return f": {error}" if isinstance(error, Unusable) else ""


def _shown(variable: Variable, text: str) -> str:
    if variable.secret:
        outline = variable.kind.outline(text) if variable.kind.outline and text else ""
        if not outline:
            return "a value that cannot be used (it is not shown here)"
        text = outline + "…"
    return repr(_cut(text))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"

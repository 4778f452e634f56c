"""The file that AQ_CONFIG names: routes, each a table of settings that have AQ_ names outside it.

Reads a text, not a file. A value is read by the same kind as the setting of its name, so what is
allowed there is allowed here. What is wrong is told in one sentence each, all at once, with the
line; no sentence has a value that may be secret, nor anything that came from the environment.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from actor_queue.core import setting_kinds as kinds
from actor_queue.core.conversation import DEFAULT_ROUTE, ROUTE_CHARACTERS_MAX, is_route_name
from actor_queue.core.doors import DAY_S, DOORS_MAX, HOLD_MAX_S, Door, doors_of, max_age_of
from actor_queue.core.routes import ROUTES_MAX, Route
from actor_queue.core.setting_kinds import Kind
from actor_queue.core.settings import MIB, Mistake, Settings, SettingsError
from actor_queue.core.toml_lines import Path, lines_of
from actor_queue.core.url import Unusable, split
from actor_queue.core.variables import BY_NAME

FILE_BYTES_MAX: Final = MIB
TEXT_CHARS_MAX: Final = MIB
"""Of all texts together once ${…} is put in, because one long variable may be named often."""
SHOWN_CHARS_MAX: Final = 80

ROUTE_KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "url": ("WEBHOOK_URL", "url"),
    "secret": ("WEBHOOK_SECRET", "secrets"),
    "headers": ("WEBHOOK_HEADERS", "headers"),
    "ttl": ("AQ_DEFAULT_TTL", "default_ttl_ms"),
    "max_wait": ("AQ_MAX_WAIT", "max_wait_ms"),
    "max_messages": ("AQ_MAX_MESSAGES", "max_messages"),
    "max_batch_bytes": ("AQ_MAX_BATCH_BYTES", "max_batch_bytes"),
    "payload": ("AQ_PAYLOAD", "payload"),
    "order": ("AQ_ORDER", "order"),
    "timeout": ("AQ_WEBHOOK_TIMEOUT", "timeout_ms"),
    "retry_schedule": ("AQ_RETRY_SCHEDULE", "retry_schedule_ms"),
    "max_deliveries": ("AQ_MAX_DELIVERIES", "max_deliveries"),
    "answer": ("AQ_ANSWER", "answer"),
    "answer_within": ("AQ_ANSWER_WITHIN", "answer_within_ms"),
}
"""What may stand in a route's table: the setting that says what its value may be, and the field of
`Route` that it becomes."""

_NAME_ALLOWED: Final = (
    f"1 to {ROUTE_CHARACTERS_MAX} letters of ASCII, digits, dots, dashes, underscores"
)


def _route_name(text: str) -> str:
    if not is_route_name(text):
        raise ValueError("no name of a route")
    return text


_PLATFORMS: Final = ("evolution", "waha", "cloud", "chatwoot", "telegram")
_ROUTE_NAME: Final = Kind(_route_name, _NAME_ALLOWED)
DOOR_KEYS: Final[Mapping[str, tuple[Kind, str]]] = {
    "kind": (kinds.choice(*_PLATFORMS), "kind"),
    "route": (_ROUTE_NAME, "route"),
    "secret": (kinds.DOOR_SECRETS, "secrets"),
    "verify_token": (kinds.DOOR_TOKEN, "verify_token"),
    "groups": (kinds.choice("ignore", "chat", "sender"), "groups"),
    "own_messages": (kinds.choice("hold", "ignore"), "own_messages"),
    "hold": (kinds.seconds(1, HOLD_MAX_S), "hold_ms"),
    "max_age": (kinds.whole(1, DAY_S), "max_age_s"),
}
"""What may stand in a door's table: what its value may be, and the field of `Door` that it becomes.
"""
_SECRET_KEYS: Final = frozenset(("secret", "verify_token"))

_SEPARATORS: Final[Mapping[str, str]] = {"secret": " ", "retry_schedule": ","}
"""Of the keys that may be lists: what stands between the parts where they are one text."""
_TABLES: Final = ("routes", "doors")
_PIECE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SYNTAX: Final[Mapping[str, str]] = {
    "Invalid value": "a text needs quotation marks around it, and a number none",
    "Expected '=' after a key": "after a key belongs = and its value",
    "Cannot declare": "this table is there twice",
    "Cannot overwrite": "this key is there twice",
    "Duplicate inline table key": "this key is there twice",
    "Illegal character": "a text has a line break or a control character in it",
    "Unterminated string": "a quotation mark is missing",
    "Expected newline or end of document": "something follows the value on its line",
    "Unescaped '\\'": "in a text a backslash needs another one in front of it",
}
"""What is said for the beginning of an error of `tomllib`, which may quote a key or a character."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says; nothing where there is none."""

    routes: tuple[Route, ...] = ()
    """In the order of the file. The one that WEBHOOK_URL describes is not among them."""
    doors: tuple[Door, ...] = ()
    """One that is called as a platform stands in the place of that platform's own."""

    @property
    def has_default(self) -> bool:
        """Whether the file describes the default route itself."""
        return any(route.name == DEFAULT_ROUTE for route in self.routes)

    def all_routes(self, settings: Settings) -> tuple[Route, ...]:
        """With that one in front, if there is a WEBHOOK_URL."""
        if settings.webhook_url is None:
            return self.routes
        return (Route.default(settings), *self.routes)

    def all_doors(self, settings: Settings) -> tuple[Door, ...]:
        """With those that are always there."""
        doors = {**doors_of(settings), **{door.name: door for door in self.doors}}
        return tuple(doors.values())


NOTHING: Final = Config()


def read_config(text: str, environ: Mapping[str, str], settings: Settings) -> Config:
    """What `text` says. `${NAME}` in a text of it is the variable of that name in `environ`, and
    `$${` is `${`. What a route does not say is as in `settings`, but secrets and headers, which are
    for one receiver only.

    Raises `SettingsError` with every mistake.
    """
    where = settings.config or "AQ_CONFIG"
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(_syntax(where, text, error)) from None
    reader = _Reader(where, lines_of(text), environ, settings)
    routes = tuple(reader.routes(found))
    config = Config(routes=routes, doors=tuple(reader.doors(found)))
    if reader.mistakes:
        raise SettingsError(*reader.mistakes)
    return config


def _syntax(where: str, text: str, error: Exception) -> str:
    said = str(error)
    line = re.search(r"\(at line (\d+)", said)
    number = int(line[1]) if line else text.rstrip().count("\n") + 1
    hint = next((hint for start, hint in _SYNTAX.items() if said.startswith(start)), "")
    return f"{where}, line {number}: this is not TOML" + (f": {hint}" if hint else "")


class _Reader:
    """Reads every value, and keeps a mistake for each one that is not allowed."""

    def __init__(
        self, where: str, lines: Mapping[Path, int], environ: Mapping[str, str], settings: Settings
    ) -> None:
        self.mistakes: list[Mistake] = []
        self._where = where
        self._lines = lines
        self._environ = environ
        self._settings = settings
        self._room = TEXT_CHARS_MAX

    def routes(self, found: Mapping[str, Any]) -> Iterator[Route]:
        self._refuse_unknown((), found, _TABLES, "a table of this file")
        tables = self._table(("routes",), found.get("routes", {}))
        if len(tables) > ROUTES_MAX:
            self._add(("routes",), f"has {len(tables)} tables; allowed: at most {ROUTES_MAX}")
            return
        for name, table in tables.items():
            path = ("routes", name)
            if not is_route_name(name):
                self._add(path, f"is no name for a route; allowed: {_NAME_ALLOWED}")
            elif name == DEFAULT_ROUTE and self._settings.webhook_url is not None:
                self._add(path, "is here, and WEBHOOK_URL says the same: take one of them away")
            route = self._route(path, self._table(path, table))
            if route is not None:
                yield route

    def _route(self, path: Path, table: Mapping[str, Any]) -> Route | None:
        known = len(self.mistakes)
        self._refuse_unknown(path, table, ROUTE_KEYS, "a key of a route")
        fields: dict[str, Any] = {
            ROUTE_KEYS[key][1]: self._of_setting((*path, key), table[key])
            for key in ROUTE_KEYS
            if key in table
        }
        if "url" not in table and len(self.mistakes) == known:
            self._add((*path, "url"), "is missing: say where the batches of this route go")
        if len(self.mistakes) > known:
            return None
        template = replace(Route.default(self._settings), name=path[1], secrets=(), headers=())
        route = replace(template, **fields)
        self._contradictions(path, route)
        return route

    def _contradictions(self, path: Path, route: Route) -> None:
        if route.default_ttl_ms > self._settings.max_ttl_ms:
            self._add(
                (*path, "ttl"),
                f"is {route.default_ttl_ms / 1000:g}; allowed: at most AQ_MAX_TTL, which is"
                f" {self._settings.max_ttl_ms / 1000:g}",
            )
        authorized = any(name == "authorization" for name, _ in route.headers)
        if authorized and route.url and split(route.url).userinfo:
            self._add(
                (*path, "headers"),
                "has an authorization, and so has the user in the url: take one of them away",
            )

    def doors(self, found: Mapping[str, Any]) -> Iterator[Door]:
        """Routes are known by their tables, also where those have mistakes of their own."""
        tables = self._table(("doors",), found.get("doors", {}))
        routes = found.get("routes", {})
        known = {DEFAULT_ROUTE, *(routes if isinstance(routes, dict) else ())}
        if len(tables) > DOORS_MAX:
            self._add(("doors",), f"has {len(tables)} tables; allowed: at most {DOORS_MAX}")
            return
        for name, table in tables.items():
            path = ("doors", name)
            if not is_route_name(name):
                self._add(path, f"is no name for a door; allowed: {_NAME_ALLOWED}")
            door = self._door(path, self._table(path, table))
            if door is None:
                continue
            if door.route not in known:
                near = difflib.get_close_matches(door.route, sorted(known), n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else "give it a table [routes.NAME]"
                self._add(
                    (*path, "route"), f"is {door.route!r}, and there is no such route; {hint}"
                )
            yield door

    def _door(self, path: Path, table: Mapping[str, Any]) -> Door | None:
        """What the table does not say is as at the platform's own door, if it is called so."""
        known = len(self.mistakes)
        self._refuse_unknown(path, table, DOOR_KEYS, "a key of a door")
        fields: dict[str, Any] = {
            field: self._value((*path, key), table[key], kind, secret=key in _SECRET_KEYS)
            for key, (kind, field) in DOOR_KEYS.items()
            if key in table
        }
        name = path[1]
        if "kind" not in table and name not in _PLATFORMS:
            self._add((*path, "kind"), f"is missing; allowed: {DOOR_KEYS['kind'][0].allowed}")
        if len(self.mistakes) > known:
            return None
        kind = fields.get("kind", name)
        if kind == name:
            return replace(doors_of(self._settings)[name], **fields)
        return Door(**{"name": name, "max_age_s": max_age_of(kind), **fields})

    def _of_setting(self, path: Path, value: object) -> object:
        variable = BY_NAME[ROUTE_KEYS[path[-1]][0]]
        allowed = _ALLOWED.get(path[-1], variable.allowed)
        return self._value(path, value, variable.kind, allowed, secret=variable.secret)

    def _value(
        self, path: Path, value: object, kind: Kind, allowed: str = "", *, secret: bool
    ) -> object:
        """As the kind reads it; None where it is not allowed."""
        known = len(self.mistakes)
        trouble = ""
        try:
            text = self._written(path, value).strip()
            if len(self.mistakes) > known:
                return None
            if text:
                return kind.read(text)
        except Unusable as error:
            trouble = f": {error}"
        except ValueError:
            pass  # its text may quote the value
        shown = _HIDDEN if secret else _shown(value)
        self._add(path, f"is {shown}{trouble}; allowed: {allowed or kind.allowed}")
        return None

    def _written(self, path: Path, value: object) -> str:
        """The text that the environment would have. Raises ValueError for another type."""
        if path[-1] == "headers":
            if not isinstance(value, dict):
                raise ValueError("no table")
            members = {
                name: self._expanded((*path, name), each) if isinstance(each, str) else None
                for name, each in value.items()
            }
            return json.dumps(members)
        if isinstance(value, list) and path[-1] in _SEPARATORS:
            return _SEPARATORS[path[-1]].join(self._one(path, each) for each in value)
        return self._one(path, value)

    def _one(self, path: Path, value: object) -> str:
        match value:
            case str():
                return self._expanded(path, value)
            case bool():
                raise ValueError("no number")
            case int():
                return f"{Decimal(value):f}"
            case float():
                return f"{Decimal(repr(value)):f}"
        raise ValueError("neither a text nor a number")

    def _expanded(self, path: Path, text: str) -> str:
        """With what the environment has for `${NAME}`."""

        def put_in(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not match[2] or not _NAME.fullmatch(name):
                self._add(
                    path,
                    "has ${ without the name of a variable and } behind it; for ${ itself write"
                    " $${",
                )
                return ""
            found = self._environ.get(name, "").rstrip("\r\n")
            if not found:
                self._add(path, f"needs ${{{name}}}, and {name} is not set in the environment")
            self._room -= len(found)
            return found if self._room >= 0 else ""

        self._room -= len(text)
        whole = _PIECE.sub(put_in, text)
        if self._room < 0:
            raise Unusable(f"with it the texts of the file have more than {TEXT_CHARS_MAX} letters")
        return whole

    # Sentences

    def _table(self, path: Path, value: object) -> Mapping[str, Any]:
        if isinstance(value, dict):
            return value
        name = _dotted((*path, "NAME") if len(path) == 1 else path)
        self._add(path, f"is {_kind(value)}; allowed: a table, as in [{name}]")
        return {}

    def _refuse_unknown(
        self, path: Path, table: Mapping[str, Any], known: Collection[str], what: str
    ) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key[:SHOWN_CHARS_MAX], known, n=1, cutoff=0.6)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                self._add((*path, key), f"is not {what}; {hint}")

    def _add(self, path: Path, sentence: str) -> None:
        ends = range(len(path), 0, -1)
        line = next((self._lines[path[:end]] for end in ends if path[:end] in self._lines), 1)
        text = f"{self._where}, line {line}: {_dotted(path)} {sentence}"
        self.mistakes.append(Mistake((), text))


_HIDDEN: Final = "a value that cannot be used (it is not shown here)"
_ALLOWED: Final[Mapping[str, str]] = {
    "headers": "a table of at most 50 texts, for example"
    ' { authorization = "Bearer ${TOKEN}" }, without line breaks and in ASCII',
    "secret": BY_NAME["WEBHOOK_SECRET"].allowed.replace("with a space between", "as a list"),
}
"""Where the form is another than that of the environment."""


def _dotted(path: Path) -> str:
    return ".".join(part if _BARE.fullmatch(part) else _shown(part) for part in path)


def _shown(value: object) -> str:
    """As it stands in the file, where that is short: nothing is put in for ${NAME}."""
    if not isinstance(value, str | int | float | list):
        return _kind(value)
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"


def _kind(value: object) -> str:
    match value:
        case str():
            return "a text"
        case list():
            return "a list"
        case dict():
            return "a table"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
    return "a date or a time"

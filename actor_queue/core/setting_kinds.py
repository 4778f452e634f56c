"""What the text of a setting may be, and how it is read.

A `Kind` reads a text that is stripped and not empty; it raises `ValueError` for one that is
not allowed, and `Unusable` where it can say more about it than what is allowed. The `allowed` texts
complete the sentence "allowed: …". `write` turns the same value, as Python has it, into such a
text, so what may be in `Settings(...)` is what may be in the environment.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from actor_queue.core import api_keys
from actor_queue.core.url import HOST_PATTERN, Unusable, read_redis_url, read_webhook_url, split

SCHEDULE_STEPS_MAX = 100
SCHEDULE_STEP_MAX_S = 604_800
ORIGINS_MAX = 100
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64

QUOTES = frozenset("\"'`\u201c\u201d\u2018\u2019")

_USUAL_PORTS = {"http": 80, "https": 443}
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_SECONDS = r"\d{1,12}(?:\.\d{0,9})?|\.\d{1,9}"


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError("not a text")
    if not value:
        raise ValueError("empty")
    return value


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of setting is read, and what a person is told about it."""

    read: Callable[[str], object]
    allowed: str
    outline: Callable[[str], str] | None = None
    """The part of a secret value that may be shown all the same; empty = nothing."""
    write: Callable[[object], str] = _text
    """The text that `read` reads as this value. Raises TypeError for another type of value."""
    typed: str = ""
    """What is allowed where the value is Python's; empty = the same as `allowed`."""


# Numbers, words and texts


def whole(least: int, most: int) -> Kind:
    def read(text: str) -> int:
        number = int(_match(r"\d{1,12}", text)[0])
        return _within(number, least, most)

    return Kind(read, f"a whole number from {least} to {most}", write=_digits)


def size(least: int, most: int) -> Kind:
    """Bytes; `256 KiB`, `1 MiB` and `2 GiB` may be written so."""

    def read(text: str) -> int:
        number, unit = _match(r"(\d{1,12})\s*([A-Za-z]*)", text).groups()
        if unit.upper() not in _UNITS:
            raise ValueError("unknown unit")
        return _within(int(number) * _UNITS[unit.upper()], least, most)

    return Kind(
        read,
        f"a number of bytes from {least} to {most}, or with KiB, MiB or GiB",
        write=_digits,
        typed=f"a whole number of bytes from {least} to {most}",
    )


def seconds(least: int | str, most: int) -> Kind:
    """Read as whole milliseconds, half up."""

    least_ms, most_ms = int(Decimal(least) * 1000), most * 1000

    def read(text: str) -> int:
        return _within(_milliseconds(text), least_ms, most_ms)

    return Kind(
        read,
        f"seconds from {least} to {most}, fractions too",
        write=_seconds,
        typed=f"a whole number of milliseconds from {least_ms} to {most_ms}",
    )


def days(most: int) -> Kind:
    """Read as a number that may have a fraction."""

    def read(text: str) -> float:
        number = Decimal(_match(_SECONDS, text)[0])
        if number > most:
            raise ValueError("out of range")
        return float(number)

    def write(value: object) -> str:
        if type(value) not in (int, float):
            raise TypeError("not a number")
        return f"{Decimal(str(value)):f}"

    return Kind(
        read,
        f"days from 0 to {most}, fractions too",
        write=write,
        typed=f"a number of days from 0 to {most}",
    )


def choice(*words: str) -> Kind:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError("not one of the words")
        return text

    return Kind(read, f"{', '.join(words[:-1])} or {words[-1]}")


def _pattern(pattern: str, allowed: str) -> Kind:
    return Kind(lambda text: _match(pattern, text)[0], allowed)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError("not a boolean")
    return _BOOLEANS[text.lower()]


def _schedule(text: str) -> tuple[int, ...]:
    steps = [_milliseconds(step.strip()) for step in text.split(",")]
    if len(steps) > SCHEDULE_STEPS_MAX:
        raise ValueError("too many steps")
    return tuple(_within(step, 0, SCHEDULE_STEP_MAX_S * 1000) for step in steps)


def _digits(value: object) -> str:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return str(Decimal(value))


def _seconds(value: object) -> str:
    return f"{Decimal(_digits(value)) / 1000:f}"


def _truth(value: object) -> str:
    if type(value) is not bool:
        raise TypeError("not a boolean")
    return str(value).lower()


def _joined(separator: str, write: Callable[[object], str]) -> Callable[[object], str]:
    def written(value: object) -> str:
        if not isinstance(value, tuple | list):
            raise TypeError("not a tuple")
        return separator.join(write(each) for each in value)

    return written


def _milliseconds(text: str) -> int:
    number = Decimal(_match(_SECONDS, text)[0])
    return int((number * 1000).to_integral_value(ROUND_HALF_UP))


def _match(pattern: str, text: str) -> re.Match[str]:
    # ASCII only: \d would otherwise take digits of every script.
    match = re.fullmatch(pattern, text, re.ASCII)
    if match is None:
        raise ValueError("not of the right form")
    return match


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError("out of range")
    return number


# Keys and secrets


def _shown_secrets(text: str) -> tuple[str, ...]:
    """Secrets as a platform has them, which are not ours to choose."""
    secrets = tuple(text.split())
    if len(secrets) > 2:
        raise ValueError("more than two")
    return tuple(_match("[!-~]{8,256}", secret)[0] for secret in secrets)


def _secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(text.split())
    if len(secrets) > 2:
        raise ValueError("more than two")
    for secret in secrets:
        encoded = _match(r"whsec_([A-Za-z0-9+/]+={0,2})", secret)[1]
        key = base64.b64decode(encoded, validate=True)
        _within(len(key), SECRET_BYTES_MIN, SECRET_BYTES_MAX)
    return secrets


# Addresses


def _port(text: str) -> int:
    return _within(int(_match(r"\d{1,5}", text)[0]), 0, 65_535)


def _redis_port(text: str) -> int:
    # Kubernetes sets REDIS_PORT=tcp://10.0.0.1:6379 for a service that is called redis.
    return _within(int(_match(r"(?:tcp://[^/]*:)?(\d{1,5})", text)[1]), 1, 65_535)


def _host(text: str) -> str:
    if "://" in text:
        raise Unusable("it is a whole address: set REDIS_URL to it instead")
    if re.fullmatch(rf"{HOST_PATTERN}:\d+", text, re.ASCII):
        raise Unusable("the port does not belong here: set REDIS_PORT to it")
    return _match(HOST_PATTERN, f"[{text}]" if text.count(":") > 1 and text[0] != "[" else text)[0]


def _address(text: str) -> str:
    port = _match(rf"{HOST_PATTERN}:(\d{{1,5}})", text)[1]
    _port(port)
    return text


def _path(text: str) -> str:
    if text[0] in QUOTES:
        raise ValueError("a name that nobody gives to a directory or a file")
    return _match(r"[^\0]{1,4096}", text)[0]


def quoted(text: str) -> bool:
    """Whether quotation marks were taken along, as `docker run --env-file` does with those of
    its file."""
    return text[0] in QUOTES or text[-1] in QUOTES


def _public_url(text: str) -> str:
    """Without a slash at the end, so that a path can follow."""
    parts = split(read_webhook_url(text))
    if parts.userinfo or not {"?", "#"}.isdisjoint(text):
        raise Unusable("it has a user, a query or a fragment")
    return text.rstrip("/")


def _origins(text: str) -> tuple[str, ...]:
    origins = [_origin(item.strip()) for item in text.split(",")]
    if len(origins) > ORIGINS_MAX:
        raise ValueError("too many origins")
    return tuple(dict.fromkeys(origins))


def _origin(text: str) -> str:
    """As a browser writes it: in small letters, without a slash, without the usual port."""
    if text == "*":
        return text
    scheme, netloc = _match(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#@\s]+)/?", text).groups()
    split(f"{scheme}://{netloc}").host()
    scheme = scheme.lower()
    usual = _USUAL_PORTS.get(scheme)
    return f"{scheme}://{netloc.lower().removesuffix(f':{usual}') if usual else netloc.lower()}"


def _url_outline(text: str) -> str:
    """Scheme and host, and nothing at all where a credential could be mistaken for them."""
    try:
        parts = split(text)
        (host,) = parts.hosts()
    except ValueError:
        return ""
    return f"{parts.scheme}://{host.name}" if "@" not in text else ""


TEXT = Kind(str, "any text")
DOOR_SECRETS = Kind(
    _shown_secrets,
    "one secret, or two separated by a space, each of 8 to 256 letters, digits and signs of ASCII",
    write=_joined(" ", _text),
)
DOOR_TOKEN = _pattern("[!-~]{8,256}", "8 to 256 letters, digits and signs of ASCII, and no space")
BOOLEAN = Kind(_boolean, "true, false, yes, no, 1 or 0", write=_truth, typed="True or False")
SCHEDULE = Kind(
    _schedule,
    f"1 to {SCHEDULE_STEPS_MAX} numbers of seconds with commas between,"
    f" each from 0 to {SCHEDULE_STEP_MAX_S}, fractions too",
    write=_joined(",", _seconds),
    typed=f"a tuple of at most {SCHEDULE_STEPS_MAX} whole numbers of milliseconds,"
    f" each from 0 to {SCHEDULE_STEP_MAX_S * 1000}",
)
NAMESPACE = _pattern(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits, dots, dashes, underscores")
PATH = Kind(_path, "a directory")
FILE = Kind(_path, "the path of a file")
ROOT_PATH = _pattern(
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+", "a path that starts with / and does not end with /"
)
SECRETS = Kind(
    _secrets,
    f"one or two, with a space between, of whsec_ and base64 of"
    f" {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes",
    write=_joined(" ", _text),
    typed=f"a tuple of at most two texts of whsec_ and base64 of"
    f" {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes",
)
API_KEYS = Kind(
    api_keys.read,
    f"scope[@route]:key or scope[@route]:key:name with commas between, where {api_keys.ALLOWED}",
    write=_joined(",", api_keys.write),
    typed="a tuple of (scope, key), (scope, key, name) or (scope, key, name, route), where"
    f" {api_keys.ALLOWED}",
)
PORT = Kind(_port, "a port from 0 to 65535, where 0 is any free one")
REDIS_PORT = Kind(_redis_port, "a port from 1 to 65535")
HOST = Kind(_host, "a host name or an IP address")
ADDRESS = Kind(_address, "host:port, for example 127.0.0.1:8000 or [::1]:8000")
WEBHOOK_URL = Kind(read_webhook_url, "http:// or https:// with a host", _url_outline)
PUBLIC_URL = Kind(
    _public_url, "http:// or https:// with a host, perhaps a port and a path, and nothing else"
)
ORIGINS = Kind(
    _origins,
    "* or origins with commas between, such as https://chat.example or http://localhost:3000",
    write=_joined(",", _text),
    typed="a tuple of origins, such as https://chat.example or http://localhost:3000, or of *",
)
REDIS_URL = Kind(
    read_redis_url,
    "redis://, rediss:// or unix:///path, redis+cluster://host:port,… or"
    " redis+sentinel://host:port,…/name, with special characters of the password percent-encoded",
    _url_outline,
)

"""The HTTP client of the command line: one call, one answer, or one sentence why not.

Owns where the service is found, with which key, and how its refusals read in a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import httpx

from actor_queue.app.alive import host_in_url
from actor_queue.core.settings import Settings, SettingsError

CONNECT_S = 5.0
ANSWER_S = 30.0
EVENTS_SILENT_S = 45.0
"""The service says that it is there every 15 s; after three times that it is not."""
DETAIL_CHARS_MAX = 500

_SAMPLE = re.compile(r"(\w+)(?:\{[^}]*\})? ([0-9.eE+-]+)")

Json = dict[str, Any]


class Refused(Exception):
    """The service said no, or nobody answered. The text is one sentence for people."""

    def __init__(self, sentence: str, status: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        """Of the answer; None when there was none that could be read."""


class Unreachable(Refused):
    """Nobody answered, or not in time: it may be there a moment later."""


def default_url(settings: Settings) -> str:
    """Where a service with these settings is reached from this machine."""
    return f"http://{host_in_url(settings.host)}:{settings.port}{settings.root_path}"


def best_key(settings: Settings, scope: str) -> str | None:
    """A key that has exactly this scope, else an admin's, else any."""
    for wanted in (scope, "admin"):
        for each in settings.api_keys:
            if each.scope == wanted:
                return each.key
    return settings.api_keys[0].key if settings.api_keys else None


def segment(text: str) -> str:
    """Any text as one segment of a path, so that no client or proxy takes it for several."""
    encoded = quote(text, safe="", errors="surrogateescape")
    # Dots alone would be removed as relative segments.
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


class Remote:
    """A service somewhere. Use as a context manager. Every call raises `Refused`."""

    def __init__(self, url: str, key: str | None, *, key_source: str = "--key") -> None:
        """`key_source` is the option or the variable that the key came from."""
        self.url = url.rstrip("/")
        self._key_source = key_source if key else None
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError(
                "--url or AQ_URL must start with http:// or https:// and have a host,"
                " for example http://127.0.0.1:8000"
            )
        if key is not None and not (key.isascii() and key.isprintable()):
            raise SettingsError("--key must be visible ASCII characters")
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            # A proxy of the environment is for the world, not for this machine.
            trust_env=address.host not in ("localhost", "127.0.0.1", "::1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int | None) -> Json:
        return self._call("GET", _with_query(path, query))

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._call("POST", path) if body is None else self._send("POST", path, body)

    def patch(self, path: str, body: Json) -> Json:
        return self._send("PATCH", path, body)

    def _send(self, method: str, path: str, body: Json) -> Json:
        # ASCII, so that half of a surrogate pair is the service's to judge.
        return self._call(
            method,
            path,
            content=json.dumps(body, allow_nan=False).encode("ascii"),
            headers={"content-type": "application/json"},
        )

    def delete(self, path: str, **query: str | None) -> Json:
        return self._call("DELETE", _with_query(path, query))

    def delete_if_there(self, path: str) -> bool:
        """Whether there was something to delete."""
        try:
            self.delete(path)
        except Refused as refused:
            if refused.status == 404:
                return False
            raise
        return True

    def unready(self) -> str | None:
        """Why the service would not accept a message now; None if it would."""
        try:
            self.get("/readyz")
        except Refused as refused:
            if refused.status == 503:
                return str(refused)
            raise
        return None

    def metrics(self) -> dict[str, float]:
        """Each name's samples added up, over all labels."""
        with self._explained():
            response = self._client.get(f"{self.url}/metrics")
        if not response.is_success:
            raise self._refusal(response)
        totals: dict[str, float] = {}
        for line in response.text.splitlines():
            if sample := _SAMPLE.fullmatch(line):
                totals[sample[1]] = totals.get(sample[1], 0.0) + float(sample[2])
        return totals

    @contextmanager
    def events(self) -> Iterator[Iterator[bytes]]:
        """The pieces of `/api/events`, as they come. Raises `Unreachable` where they break off."""
        timeout = httpx.Timeout(EVENTS_SILENT_S, connect=CONNECT_S)
        with (
            self._explained(),
            self._client.stream("GET", f"{self.url}/api/events", timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise self._stranger()
            try:
                yield response.iter_bytes()
            except httpx.TimeoutException:
                raise Unreachable(
                    f"{self.url} has said nothing for {EVENTS_SILENT_S:.0f} s"
                ) from None
            except httpx.HTTPError:
                raise Unreachable(
                    f"the connection to {self.url} broke: the service ended, or the network failed"
                ) from None

    def _call(self, method: str, path: str, **parts: Any) -> Json:
        with self._explained():
            response = self._client.request(method, self.url + path, **parts)
        if not response.is_success:
            raise self._refusal(response)
        answer = _object(response.content)
        if answer is None:
            raise self._stranger()
        return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.ConnectError as error:
            if "CERTIFICATE" in str(error) or "SSL" in str(error):
                raise Refused(
                    f"no TLS with {self.url} ({error}): check the certificate, and whether --url"
                    " should start with http://"
                ) from None
            raise Unreachable(
                f"nobody answers at {self.url}: start the service with `actor-queue dev`"
                " or `actor-queue serve`, or say where it is with --url or AQ_URL"
            ) from None
        except httpx.TimeoutException:
            raise Unreachable(f"{self.url} did not answer in time: look at its log") from None
        except httpx.HTTPError as error:
            raise Unreachable(
                f"{self.url} did not answer properly ({type(error).__name__}):"
                " is this an actor-queue?"
            ) from None

    def _stranger(self) -> Refused:
        return Refused(f"{self.url} does not answer like an actor-queue: check --url")

    def _refusal(self, response: httpx.Response) -> Refused:
        said = _object(response.content) or {}
        detail = str(said.get("detail") or said.get("title") or "no reason given")
        what = f"the service answered {response.status_code}: {detail[:DETAIL_CHARS_MAX]}"
        return Refused(what + self._advice(response), response.status_code)

    def _advice(self, response: httpx.Response) -> str:
        """What to do about it, where that is not in the answer."""
        match response.status_code:
            case 401 if self._key_source is None:
                return "; set AQ_API_KEYS, or give a key with --key or --key-file"
            case 401:
                return (
                    f"; correct the key in {self._key_source}, or give another one with --key"
                    " or --key-file"
                )
            case 403 if "insufficient_scope" in response.headers.get("www-authenticate", ""):
                return (
                    f"; the key came from {self._key_source}: give one that may do this with --key,"
                    " --key-file or AQ_API_KEYS"
                )
            case 301 | 302 | 303 | 307 | 308:
                return f"; it redirects to {response.headers.get('location')}: correct --url"
            case 404 if not _object(response.content):
                return f"; check --url, which is {self.url}"
            case _:
                return ""


def _with_query(path: str, fields: Mapping[str, str | int | None]) -> str:
    """`path`, which may have a query already, with these; httpx would take that one away."""
    given = {name: str(value) for name, value in fields.items() if value is not None}
    if not given:
        return path
    query = urlencode(given, errors="surrogateescape")
    return f"{path}{'&' if '?' in path else '?'}{query}"


def _object(content: bytes) -> Json | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

"""The HTTP client of the command line: one call, one answer, or one sentence why not.

Owns where the service is found, with which key, and how its refusals read in a terminal.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from actor_queue.core.settings import Settings, SettingsError

CONNECT_S = 5.0
ANSWER_S = 30.0
DETAIL_CHARS_MAX = 500

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where a wildcard is reached

Json = dict[str, Any]


class Refused(Exception):
    """The service said no, or nobody answered. The text is one sentence for people."""


def default_url(settings: Settings) -> str:
    """Where a service with these settings is reached from this machine."""
    host = _ANY_HOST.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{settings.port}{settings.root_path}"


def best_key(settings: Settings, scope: str) -> str | None:
    """A key that has exactly this scope, else an admin's, else any."""
    for wanted in (scope, "admin"):
        for given, key in settings.api_keys:
            if given == wanted:
                return key
    return settings.api_keys[0][1] if settings.api_keys else None


def segment(text: str) -> str:
    """Any text as one segment of a path, so that no client or proxy takes it for several."""
    encoded = quote(text, safe="", errors="surrogateescape")
    # Dots alone would be removed as relative segments.
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")


class Remote:
    """A service somewhere. Use as a context manager. Every call raises `Refused`."""

    def __init__(self, url: str, key: str | None) -> None:
        self.url = url.rstrip("/")
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host:
            raise SettingsError(
                "--url must start with http:// or https:// and have a host,"
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
        return self._call("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Json | None = None) -> Json:
        return self._call("POST", path, json=body)

    def delete(self, path: str) -> Json:
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **parts: Any) -> Json:
        try:
            response = self._client.request(method, self.url + path, **parts)
        except httpx.ConnectError:
            raise Refused(
                f"nobody answers at {self.url}: start the service with `actor-queue dev`,"
                " or say where it is with --url"
            ) from None
        except httpx.TimeoutException:
            raise Refused(f"{self.url} did not answer in time: look at its log") from None
        except httpx.HTTPError as error:
            raise Refused(
                f"{self.url} did not answer properly ({type(error).__name__}):"
                " is this an actor-queue?"
            ) from None
        answer = _object(response.content)
        if not response.is_success:
            raise Refused(_refusal(response.status_code, answer))
        if answer is None:
            raise Refused(f"{self.url} does not answer like an actor-queue: check --url")
        return answer


def _object(content: bytes) -> Json | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refusal(status: int, problem: Json | None) -> str:
    said = problem or {}
    detail = str(said.get("detail") or said.get("title") or "no reason given")[:DETAIL_CHARS_MAX]
    if status in (401, 403):
        detail += "; give a key that may do this with --key or AQ_API_KEYS"
    return f"the service answered {status}: {detail}"

"""Whether the receivers' addresses can be reached, without calling any of them.

Routes that share a host and a port share one look. Looks overlap, and all of them together are
bounded in time, because a thousand routes may lead to servers that do not answer.
"""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import trio

from actor_queue.app.finding import Finding, Level
from actor_queue.app.primaries import TIMEOUT_S
from actor_queue.core.addresses import allowed
from actor_queue.core.config_file import ROUTE_KEYS
from actor_queue.core.conversation import DEFAULT_ROUTE
from actor_queue.core.routes import Route
from actor_queue.core.settings import Networks, Settings
from actor_queue.core.url import split
from actor_queue.transport.address import Place
from actor_queue.transport.protocol import speaks_tls
from actor_queue.webhook.client import trusting_context
from actor_queue.webhook.dial import may_connect

CERTIFICATE_WARN_DAYS = 14
DAY_S = 86_400
LOOKS_AT_ONCE: Final = 16
ALL_LOOKS_S: Final = 10.0
"""For the looks at all receivers together, name lookups too."""
UNSIGNED_SHOWN_MAX: Final = 10

_SETTINGS: Final = {setting: key for key, (setting, _) in ROUTE_KEYS.items()}


class Receiver(NamedTuple):
    """What is looked at."""

    scheme: str
    host: str
    port: int
    networks: Networks


def examine_webhook(settings: Settings, routes: Sequence[Route]) -> Iterator[Finding]:
    """A connection to each receiver is made and closed. Never raises."""
    if not routes:
        # Without a Redis of its own this is the configuration of `dev`.
        level: Level = "warn" if settings.redis_url is None else "fail"
        text = "WEBHOOK_URL is not set: `serve` needs it, `dev` then delivers to its own inbox"
        yield Finding(level, "webhook", text)
        return
    receivers = {route.name: _receiver(route) for route in routes}
    looked = _look_at_all(list(dict.fromkeys(receivers.values())))
    for route in routes:
        found = looked.get(receivers[route.name])
        if found is None:
            text = f"was not looked at within {ALL_LOOKS_S:g} s: other servers answer slowly"
            found = [Finding("warn", "webhook", text)]
        yield from (named(each, route) for each in found)
    yield from _unsigned(routes)


def named(finding: Finding, route: Route) -> Finding:
    """As it is said of `route`, whose settings have other names in the file than outside of it."""
    if route.name == DEFAULT_ROUTE:
        return finding
    text = re.sub(
        "|".join(rf"\b{setting}\b" for setting in _SETTINGS),
        lambda match: f"{_SETTINGS[match[0]]} of [routes.{route.name}]",
        finding.text,
    )
    return replace(finding, check=f"{finding.check} {route.name}", text=text)


def _unsigned(routes: Sequence[Route]) -> Iterator[Finding]:
    text = (
        "webhooks are not signed: set WEBHOOK_SECRET so that the receiver can tell them apart;"
        " `actor-queue new-secret` makes one"
    )
    names = [route.name for route in routes if not route.secrets]
    if DEFAULT_ROUTE in names:
        yield Finding("warn", "webhook", text)
        names.remove(DEFAULT_ROUTE)
    if names:
        shown = ", ".join(names[:UNSIGNED_SHOWN_MAX])
        more = len(names) - UNSIGNED_SHOWN_MAX
        which = f"{shown} and {more} more" if more > 0 else shown
        text = f"webhooks of these routes are not signed: {which}; give each a secret, which"
        yield Finding("warn", "routes", f"{text} `actor-queue new-secret` makes")


# Looking


def _receiver(route: Route) -> Receiver:
    assert route.url is not None
    parts = split(route.url)
    host, given = parts.host()
    port = given or (443 if parts.scheme == "https" else 80)
    return Receiver(parts.scheme, host, port, route.networks)


def _look_at_all(receivers: list[Receiver]) -> dict[Receiver, list[Finding]]:
    """What was found of each one within `ALL_LOOKS_S`. A thread that hangs in a name lookup is left
    to itself: nothing can end it."""
    waiting = deque(receivers)
    answers: queue.SimpleQueue[tuple[Receiver, list[Finding]]] = queue.SimpleQueue()

    def look() -> None:
        while waiting:
            try:
                receiver = waiting.popleft()
            except IndexError:
                return
            answers.put((receiver, list(_look_at(receiver))))

    for _ in range(min(LOOKS_AT_ONCE, len(receivers))):
        threading.Thread(target=look, daemon=True).start()
    found: dict[Receiver, list[Finding]] = {}
    deadline = time.monotonic() + ALL_LOOKS_S
    while len(found) < len(receivers):
        try:
            receiver, said = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[receiver] = said
    waiting.clear()
    return found


def _look_at(receiver: Receiver) -> Iterator[Finding]:
    host, port = receiver.host, receiver.port
    try:
        looked_up = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in looked_up))
        passed = [each for each in addresses if may_connect(each, receiver.networks)]
        if not passed:
            text = (
                f"{host} is an address to which no webhook may go, so each attempt fails: correct"
                " WEBHOOK_URL, or look at AQ_WEBHOOK_NETWORKS"
            )
            yield Finding("fail", "webhook", text)
            return
        yield from _connect(receiver, passed)
    except socket.gaierror:
        yield Finding("fail", "webhook", f"the name {host} cannot be resolved: correct WEBHOOK_URL")
    except TimeoutError:
        yield Finding(
            "fail",
            "webhook",
            f"{host} port {port} does not answer within {TIMEOUT_S:g} s: check the firewall",
        )
    except (OSError, UnicodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        yield Finding(
            "fail", "webhook", f"{host} port {port}: {reason}: check that the receiver runs"
        )


def _connect(receiver: Receiver, addresses: Sequence[str]) -> Iterator[Finding]:
    """To one of the addresses that may be connected to, in their order."""
    host, port = receiver.host, receiver.port
    connection, address = _first(addresses, port)
    with connection:
        yield Finding("ok", "webhook", f"{host} port {port} accepts connections")
        if receiver.scheme == "https":
            yield _tls(connection, host)
            return
    if trio.run(speaks_tls, Place(address, port)):
        yield Finding(
            "fail",
            "webhook",
            f"{host} port {port} speaks TLS: use https:// instead of http:// in WEBHOOK_URL",
        )
    elif allowed(ipaddress.ip_address(address), "public"):
        yield Finding(
            "warn",
            "webhook",
            f"{host} is on the internet and is spoken to without TLS, so whoever is between reads"
            " what people write: use https:// in WEBHOOK_URL",
        )


def _first(addresses: Sequence[str], port: int) -> tuple[socket.socket, str]:
    *others, last = addresses
    for address in others:
        try:
            return socket.create_connection((address, port), timeout=TIMEOUT_S), address
        except OSError:
            continue
    return socket.create_connection((last, port), timeout=TIMEOUT_S), last


def _tls(connection: socket.socket, host: str) -> Finding:
    context = trusting_context()
    try:
        with context.wrap_socket(connection, server_hostname=host) as secured:
            expires = (secured.getpeercert() or {}).get("notAfter")
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "fail",
            "webhook",
            f"the certificate of {host} is not trusted ({error.verify_message}): renew it, correct"
            " the name, or name the file of its authority in SSL_CERT_FILE",
        )
    except (ssl.SSLError, OSError):
        return Finding("fail", "webhook", f"{host} does not speak TLS there: use http:// or fix it")
    left_days = (ssl.cert_time_to_seconds(str(expires)) - time.time()) / DAY_S
    if left_days < CERTIFICATE_WARN_DAYS:
        return Finding(
            "warn", "webhook", f"the certificate of {host} ends in {left_days:.0f} days: renew it"
        )
    return Finding("ok", "webhook", f"the certificate of {host} is valid")

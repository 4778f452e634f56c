"""Whether the webhook's address can be reached, without calling it."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator

import trio

from actor_queue.app.doctor.finding import Finding, Level
from actor_queue.app.primaries import TIMEOUT_S
from actor_queue.core.settings import Settings
from actor_queue.core.url import split
from actor_queue.store.address import Place
from actor_queue.store.protocol import speaks_tls
from actor_queue.webhook.client import trusting_context

CERTIFICATE_WARN_DAYS = 14
DAY_S = 86_400


def examine_webhook(settings: Settings) -> Iterator[Finding]:
    """A connection is made and closed."""
    if settings.webhook_url is None:
        # Without a Redis of its own this is the configuration of `dev`.
        level: Level = "warn" if settings.redis_url is None else "fail"
        text = "WEBHOOK_URL is not set: `serve` needs it, `dev` then delivers to its own inbox"
        yield Finding(level, "webhook", text)
        return
    parts = split(settings.webhook_url)
    host, given = parts.host()
    port = given or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            yield Finding("ok", "webhook", f"{host} port {port} accepts connections")
            if parts.scheme == "https":
                yield _tls(connection, host)
        if parts.scheme == "http" and trio.run(speaks_tls, Place(host, port)):
            yield Finding(
                "fail",
                "webhook",
                f"{host} port {port} speaks TLS: use https:// instead of http:// in WEBHOOK_URL",
            )
    except socket.gaierror:
        yield Finding("fail", "webhook", f"the name {host} cannot be resolved: correct WEBHOOK_URL")
    except TimeoutError:
        yield Finding(
            "fail",
            "webhook",
            f"{host} port {port} does not answer within {TIMEOUT_S:g} s: check the firewall",
        )
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield Finding(
            "fail", "webhook", f"{host} port {port}: {reason}: check that the receiver runs"
        )
    if not settings.webhook_secrets:
        yield Finding(
            "warn",
            "webhook",
            "webhooks are not signed: set WEBHOOK_SECRET so that the receiver can tell them apart;"
            " `actor-queue new-secret` makes one",
        )


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

"""What a failed attempt says of its receiver, and what to do about it."""

from __future__ import annotations

from actor_queue.core.delivery import REDIRECTS_NOT_FOLLOWED
from actor_queue.core.outcome import Failed
from actor_queue.core.settings import Settings
from actor_queue.core.url import split

ANSWER_SOONER = (
    "let the receiver answer at once and work afterwards, because one that is slower than"
    " AQ_WEBHOOK_TIMEOUT is called again, and works again"
)

_OF_STATUS = {
    400: "the receiver does not take this body: compare what it expects with AQ_PAYLOAD",
    404: "the receiver has nothing at this path: compare WEBHOOK_URL with the receiver's address",
    405: "the receiver takes no POST at this path: set its method to POST",
    408: "the receiver gave up reading: look at the proxy in front of it",
    410: "the receiver wants no more webhooks here, and each batch would be dead at once: correct"
    " WEBHOOK_URL",
    413: "the receiver takes no body of this size, although a test is small: raise its limit",
    415: "the receiver does not take application/json: let it",
    422: "the receiver does not take this body: compare what it expects with AQ_PAYLOAD",
    429: "the receiver asks for fewer webhooks: lower AQ_MAX_DELIVERIES or raise its limit",
    502: "the proxy in front of the receiver does not reach it: start the receiver",
    503: "the receiver is not available: start it, or look at the proxy in front of it",
    504: f"the proxy in front of the receiver waited too long: {ANSWER_SOONER}",
}

_OF_REASON = {
    "address not allowed": "a webhook never goes to a link-local or metadata address, and to a"
    " private one only where AQ_WEBHOOK_NETWORKS is any: correct the address, or that setting",
    "name not found": "correct the host in WEBHOOK_URL; in a container, it is the name of the"
    " receiver's service on a network that both are on",
    "name lookup failed": "the name server did not answer: try again, and look at the DNS of this"
    " machine",
    "connection refused": "nobody listens there: start the receiver, or correct the port; in a"
    " container, localhost is that container itself",
    "host unreachable": "look at the network and the firewall between here and the receiver",
    "connection timed out": "look at the firewall between here and the receiver",
    "TLS certificate not trusted": "renew it or correct the name; for an authority of your own,"
    " name the file of its certificate in SSL_CERT_FILE",
    "TLS failed": "the receiver does not speak TLS at this port: use http://, or the port that"
    " does",
    "connection closed before an answer": "look at the receiver's log, and whether HTTP is what"
    " it speaks at this port: TLS needs https://",
    "the answer is not valid HTTP": "no HTTP server listens there: correct the host and the port",
}


def explained(failed: Failed, settings: Settings) -> str:
    """What failed, and what to do about it where the reason itself does not say that."""
    if REDIRECTS_NOT_FOLLOWED in failed.reason:
        return failed.reason
    return f"{failed.reason}: {advice(failed, settings)}"


def advice(failed: Failed, settings: Settings) -> str:
    """What to do, without a full stop."""
    match failed.status:
        case None:
            return _of_reason(failed.reason)
        case 401 | 403:
            return _credentials(settings)
        case 404 if (n8n := _of_n8n(settings.webhook_url or "", failed.answer or "")) is not None:
            return n8n
        case status if 300 <= status < 400:
            return f"{REDIRECTS_NOT_FOLLOWED}: set WEBHOOK_URL to where it leads"
        case status if status in _OF_STATUS:
            return _OF_STATUS[status]
        case status if status >= 500:
            return "look at the receiver's log"
        case _:
            return "look at what the receiver expects"


def _of_reason(reason: str) -> str:
    for beginning, advice in _OF_REASON.items():
        if reason.startswith(beginning):
            return advice
    if reason.startswith("timed out"):
        connecting = "connecting" in reason or "TLS" in reason
        return _OF_REASON["connection timed out"] if connecting else ANSWER_SOONER
    return "look at the receiver's log"


def _credentials(settings: Settings) -> str:
    if any(name == "authorization" for name, _ in settings.webhook_headers):
        return (
            "the receiver refused the authorization of WEBHOOK_HEADERS: compare it with what the"
            " receiver asks for"
        )
    advice = (
        "the receiver wants credentials: write them into WEBHOOK_HEADERS, or into WEBHOOK_URL as"
        " https://user:password@host/…, or let it check the signature instead"
    )
    if settings.webhook_secrets:
        return f"{advice}; if it does, it has another secret than WEBHOOK_SECRET"
    return f"{advice}, for which WEBHOOK_SECRET must be set"


def _of_n8n(url: str, answer: str) -> str | None:
    """What a 404 means that comes from n8n; None from others.

    n8n has the production address /webhook/… and the test address /webhook-test/… of each Webhook
    node. Both answer 404 unless they are listening.
    """
    path = split(url).path if url else ""
    registered = "not registered" in answer
    if registered and "for POST" in answer:
        return "n8n has this webhook for another method: set the Webhook node's HTTP method to POST"
    if "/webhook-test/" in path:
        return (
            "n8n listens at a test address (/webhook-test/) only while its editor waits for a test"
            " event, and for one call: press `Execute workflow` and send the test again, or use"
            " the production address (/webhook/) of an active workflow"
        )
    if registered or "/webhook/" in path:
        return (
            "n8n answers 404 while the workflow is not active, or when no Webhook node has this"
            " path: activate (publish) the workflow, and compare the path with the node's"
            " production URL"
        )
    return None

"""A platform's signature opens its door, and only for the bytes that it signed.

What the platforms compute is computed here a second time, from RFC 2104 and RFC 7519, without the
`hmac` module that the adapters use.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actor_queue.doors import Request, verified
from actor_queue.doors.signatures import CLOCKS_APART_S
from tests.doors.fixtures import DOORS, NOW_S, as_sent, fixture

SECRET = "the-secret-of-the-platform"
BODY = as_sent(fixture("cloud/caption_and_image")["body"])
Sign = Callable[[bytes, str], dict[str, str]]


def rfc_2104(content: bytes, secret: str, digest: str) -> bytes:
    def hashed(data: bytes) -> bytes:
        return hashlib.new(digest, data).digest()

    block = hashlib.new(digest).block_size
    key = secret.encode()
    key = (hashed(key) if len(key) > block else key).ljust(block, b"\0")
    inner = hashed(bytes(each ^ 0x36 for each in key) + content)
    return hashed(bytes(each ^ 0x5C for each in key) + inner)


def by_waha(body: bytes, secret: str) -> dict[str, str]:
    return {
        "x-webhook-hmac": rfc_2104(body, secret, "sha512").hex(),
        "x-webhook-hmac-algorithm": "sha512",
        "x-webhook-request-id": "01aaaaaaaaaaaaaaaaaaaaaaaa",
    }


def by_meta(body: bytes, secret: str) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + rfc_2104(body, secret, "sha256").hex()}


def by_chatwoot(body: bytes, secret: str, at_s: int = NOW_S) -> dict[str, str]:
    content = str(at_s).encode() + b"." + body
    return {
        "x-chatwoot-signature": "sha256=" + rfc_2104(content, secret, "sha256").hex(),
        "x-chatwoot-timestamp": str(at_s),
    }


def by_telegram(body: bytes, secret: str) -> dict[str, str]:
    return {"x-telegram-bot-api-secret-token": secret}


def by_evolution(body: bytes, secret: str, alg: str = "HS256", **claims: Any) -> dict[str, str]:
    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    claims = {"app": "evolution", "iat": NOW_S, "exp": NOW_S + 600} | claims
    head = part(json.dumps({"alg": alg, "typ": "JWT"}).encode())
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    shown = part(rfc_2104(signed.encode(), secret, "sha256"))
    return {"authorization": f"Bearer {signed}.{shown}"}


SIGN: dict[str, Sign] = {
    "evolution": by_evolution,
    "waha": by_waha,
    "cloud": by_meta,
    "chatwoot": by_chatwoot,
    "telegram": by_telegram,
}
OF_THE_BODY = ["waha", "cloud", "chatwoot"]


def judged(platform: str, headers: dict[str, str], body: bytes, *secrets: str) -> bool | None:
    door = replace(DOORS[platform], secrets=secrets or (SECRET,))
    return verified(Request(headers, body), door, NOW_S)


@pytest.mark.parametrize("platform", SIGN)
def test_what_the_platform_signed_opens_its_door(platform: str) -> None:
    assert judged(platform, SIGN[platform](BODY, SECRET), BODY) is True


@pytest.mark.parametrize("platform", SIGN)
def test_either_of_two_secrets_opens_while_one_is_rotated(platform: str) -> None:
    signed = SIGN[platform](BODY, SECRET)
    assert judged(platform, signed, BODY, "the-former-secret", SECRET) is True
    assert judged(platform, signed, BODY, SECRET, "the-next-secret") is True


@pytest.mark.parametrize("platform", SIGN)
def test_another_secret_opens_nothing(platform: str) -> None:
    assert judged(platform, SIGN[platform](BODY, "another-secret"), BODY) is False


@pytest.mark.parametrize("platform", SIGN)
def test_no_signature_is_neither_right_nor_wrong(platform: str) -> None:
    assert judged(platform, {}, BODY) is None


@pytest.mark.parametrize("platform", SIGN)
def test_without_a_secret_nothing_is_judged(platform: str) -> None:
    door = DOORS[platform]
    assert door.secrets == ()
    assert verified(Request(SIGN[platform](BODY, ""), BODY), door, NOW_S) is None


@pytest.mark.parametrize("platform", OF_THE_BODY)
def test_the_signature_of_another_body_opens_nothing(platform: str) -> None:
    signed = SIGN[platform](BODY, SECRET)
    assert judged(platform, signed, BODY.replace(b"Ana", b"Eva")) is False
    assert judged(platform, signed, b"") is False


@pytest.mark.parametrize("platform", OF_THE_BODY)
def test_the_bytes_are_verified_and_not_what_they_mean(platform: str) -> None:
    """Meta writes é as \\u00e9, and signs that. The same text in UTF-8 is another body."""
    escaped = b'{"text": "\\u00e9 \\ud83d\\ude00 \\/"}'
    written_again = json.dumps(json.loads(escaped), ensure_ascii=False).encode()
    signed = SIGN[platform](escaped, SECRET)
    assert judged(platform, signed, escaped) is True
    assert judged(platform, signed, written_again) is False


@pytest.mark.parametrize("platform", OF_THE_BODY)
@pytest.mark.parametrize("change", [str.upper, "  {} ".format], ids=["capitals", "blanks"])
def test_hexadecimal_digits_may_be_capitals(platform: str, change: Callable[[str], str]) -> None:
    signed = SIGN[platform](BODY, SECRET)
    name = next(iter(signed))
    start, equals, digits = signed[name].rpartition("=")
    signed[name] = start + equals + change(digits)
    assert judged(platform, signed, BODY) is True


@pytest.mark.parametrize("platform", OF_THE_BODY)
@pytest.mark.parametrize("shown", ["", "sha256=", "sha256", "é", "0" * 64, "sha1=00", "None"])
def test_a_broken_signature_opens_nothing(platform: str, shown: str) -> None:
    signed = SIGN[platform](BODY, SECRET)
    signed[next(iter(signed))] = shown
    assert judged(platform, signed, BODY) is False


@pytest.mark.parametrize("platform", OF_THE_BODY)
def test_a_part_of_a_signature_opens_nothing(platform: str) -> None:
    signed = SIGN[platform](BODY, SECRET)
    name = next(iter(signed))
    for part in (signed[name][:-1], signed[name] + "0", signed[name][1:]):
        assert judged(platform, {**signed, name: part}, BODY) is False


def test_wahas_algorithm_is_the_one_that_is_known() -> None:
    assert (
        judged("waha", by_waha(BODY, SECRET) | {"x-webhook-hmac-algorithm": "md5"}, BODY) is False
    )


@pytest.mark.parametrize("apart_s", [-CLOCKS_APART_S, 0, CLOCKS_APART_S])
def test_chatwoots_signature_is_good_for_some_minutes(apart_s: int) -> None:
    assert judged("chatwoot", by_chatwoot(BODY, SECRET, NOW_S + apart_s), BODY) is True


@pytest.mark.parametrize("apart_s", [-CLOCKS_APART_S - 1, CLOCKS_APART_S + 1, -86_400])
def test_a_replayed_event_of_chatwoot_opens_nothing(apart_s: int) -> None:
    assert judged("chatwoot", by_chatwoot(BODY, SECRET, NOW_S + apart_s), BODY) is False


def test_chatwoots_time_is_signed_with_the_body() -> None:
    moved = by_chatwoot(BODY, SECRET) | {"x-chatwoot-timestamp": str(NOW_S - 1)}
    assert judged("chatwoot", moved, BODY) is False
    without = by_chatwoot(BODY, SECRET)
    del without["x-chatwoot-timestamp"]
    assert judged("chatwoot", without, BODY) is False


def test_evolutions_token_ends() -> None:
    assert judged("evolution", by_evolution(BODY, SECRET, exp=NOW_S + 1), BODY) is True
    assert judged("evolution", by_evolution(BODY, SECRET, exp=NOW_S), BODY) is False


@pytest.mark.parametrize("alg", ["none", "HS512", "RS256", ""])
def test_evolutions_token_says_how_it_is_signed(alg: str) -> None:
    assert judged("evolution", by_evolution(BODY, SECRET, alg=alg), BODY) is False


def test_an_unsigned_token_opens_nothing() -> None:
    head, claims, _ = by_evolution(BODY, SECRET, alg="none")["authorization"].split(".")
    assert judged("evolution", {"authorization": f"{head}.{claims}."}, BODY) is False
    assert judged("evolution", {"authorization": "Bearer ..." + "." * 9}, BODY) is None
    assert judged("evolution", {"authorization": "Bearer é.\xff.x"}, BODY) is False


def test_a_key_in_authorization_is_no_token() -> None:
    assert judged("evolution", {"authorization": "Bearer an-ingest-key"}, BODY) is None


@pytest.mark.parametrize("platform", SIGN)
def test_every_secret_is_compared_in_constant_time(
    platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compare_digest` looks at all of what it is given, and all secrets are looked at."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    judged(platform, SIGN[platform](BODY, SECRET), BODY, SECRET, "another-secret")
    assert len(compared) == 2
    assert compared[0][0] == compared[1][0]
    assert len(compared[0][0]) == len(compared[0][1])

"""What follows from an attempt: acknowledge, try again, or give up.

Owns the rules about outcomes and answers. Performs nothing and knows no HTTP client.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime

from actor_queue.core.answers import ACCEPTED
from actor_queue.core.outcome import (
    Ack,
    AnswersLater,
    Bury,
    Delivered,
    Divide,
    Failed,
    Outcome,
    Retry,
    Verdict,
)
from actor_queue.core.url import shown_receiver

JITTER = 0.2
"""A delay is this much shorter or longer, so that users who failed together part ways."""
RETRY_AFTER_MAX_S = 86_400.0
"""No receiver can silence a user for more than a day with one answer."""
UNSPENT_DELAY_MS = 1_000
"""Before a batch goes again whose attempt does not count, where the schedule has no delays."""
SAID_THAT_IT_FAILED = "the receiver said that it failed"
"""The reason then. Its own words are kept beside it, as an answer is, and reach no log."""
GONE = 410
"""The receiver wants nothing any more."""
REDIRECTS_NOT_FOLLOWED = "redirects are not followed"
"""Stands in the reason of an attempt that was redirected, which also says what to do."""
TOO_LARGE = 413
"""The same bytes will never be taken, and half of them may."""

ANSWER_BYTES_MAX = 300
"""Of a failing receiver's answer are kept as text: enough for a sentence about what is wrong."""
REASON_CHARACTERS_MAX = 500

_HEADER_CHARACTERS_MAX = 100
_REDIRECTED = re.compile(rf" to (.+)(?=; {REDIRECTS_NOT_FOLLOWED})")
_DELTA_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")


def decide(
    outcome: Outcome,
    number: int,
    schedule_ms: Sequence[int],
    jitter: float,
    messages: int,
    answer_within_ms: int | None = None,
    *,
    spent: bool = True,
) -> Verdict:
    """What to settle after attempt `number` (1 for the first) at a batch of so many messages.

    `schedule_ms` has the delay before each retry; `jitter`, drawn by the caller from [0, 1),
    moves it by up to `JITTER` either way. A receiver that asked for more time than that gets
    it, up to `RETRY_AFTER_MAX_S`. An attempt that is not `spent`, because it failed while its route
    was open, is never the last one; when the batch goes again, the route decides.
    `answer_within_ms` is how long a receiver that answers 202 has to say that it is done; None
    where every receiver is done when it answers.
    """
    if isinstance(outcome, Delivered):
        if outcome.status == ACCEPTED and answer_within_ms is not None:
            return AnswersLater(answer_within_ms)
        return Ack()
    if not spent:
        first_ms = schedule_ms[0] if schedule_ms else UNSPENT_DELAY_MS
        return Retry(first_ms, outcome.reason, spent=False)
    if outcome.status == TOO_LARGE and not outcome.final:
        return Divide(outcome.reason) if messages > 1 else Bury(outcome.reason)
    if outcome.final or number > len(schedule_ms):
        return Bury(outcome.reason)
    scheduled_ms = schedule_ms[number - 1] * (1 - JITTER + 2 * JITTER * jitter)
    asked_ms = _clamped(outcome.retry_after_s or 0.0) * 1_000
    return Retry(math.ceil(max(scheduled_ms, asked_ms)), outcome.reason)


def decide_on_word(
    retry_after_s: float | None,
    number: int,
    schedule_ms: Sequence[int],
    jitter: float,
    *,
    retry: bool,
) -> Retry | Bury:
    """As `decide`, where a receiver that had answered 202 says that it failed."""
    failed = Failed(SAID_THAT_IT_FAILED, retry_after_s=retry_after_s, final=not retry)
    verdict = decide(failed, number, schedule_ms, jitter, 1)
    assert isinstance(verdict, Retry | Bury)
    return verdict


def outcome_of_status(
    status: int, retry_after_s: float | None, *, redirected_to: str | None = None
) -> Outcome:
    """What a complete answer means. Any 2xx is success; redirects are not followed.

    `redirected_to` is the address that a redirect names, without what may be secret in it.
    """
    if 200 <= status <= 299:
        return Delivered(status)
    reason = f"answered {status}"
    if redirected_to is not None:
        reason += f" to {redirected_to}; {REDIRECTS_NOT_FOLLOWED}: put that address in WEBHOOK_URL"
    return Failed(
        reason=reason,
        status=status,
        retry_after_s=retry_after_s,
        final=status == GONE,
    )


def loggable(reason: str) -> str:
    """A reason as the log may have it. The address that a redirect names is often the webhook's own
    with another scheme or host, and its path is a secret: its host and a hash stay."""
    return _REDIRECTED.sub(lambda found: f" to {shown_receiver(found[1])}", reason)


def retry_after_seconds(header: str, now_s: float) -> float | None:
    """Seconds from now that a `Retry-After` asks for: 0 to `RETRY_AFTER_MAX_S`.

    `now_s` is Unix time, for the date form (RFC 9110, 10.2.3: all three date formats).
    None where the header makes no sense: the schedule then stands alone.
    """
    header = header.strip()
    if len(header) > _HEADER_CHARACTERS_MAX:
        return None
    if _DELTA_SECONDS.fullmatch(header):
        return _clamped(float(header))
    try:
        moment = parsedate_to_datetime(header)
        # The asctime form names no zone and means GMT.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return _clamped(moment.timestamp() - now_s)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def printable(text: str, characters_max: int) -> str:
    """The beginning of `text` on one line, without characters that could steer a terminal."""
    shown = (
        " " if char.isspace() else char if char.isprintable() else "\ufffd"
        for char in text[:characters_max]
    )
    return "".join(shown).strip()


def answer_text(data: bytes) -> str | None:
    """The first `ANSWER_BYTES_MAX` bytes of an answer's body for people; None where there are none.

    What is no UTF-8 becomes U+FFFD, but for a character that the end of the bytes cut in two.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data[:ANSWER_BYTES_MAX], final=len(data) <= ANSWER_BYTES_MAX)
    return printable(text, ANSWER_BYTES_MAX) or None


def _clamped(seconds: float) -> float:
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_S)

"""What `openapi.json` says of the addresses for answers."""

from __future__ import annotations

from typing import Any, Final, get_args

from actor_queue.core.answers import ANSWER_MAX_MS, AnswerState
from actor_queue.http.answers import SENT_MAX, VERBS
from actor_queue.http.openapi_parts import JSON, Operation, body_of, json_of, operation
from actor_queue.http.schemas import STRING
from actor_queue.runtime.answers import WAIT_MAX_S, WAITING_MAX, WAITING_OF_CONVERSATION_MAX

PATH: Final = "/api/answers/{ticket}"
ANSWER_OPERATIONS: Final = {
    (PATH, "get"): "showAnswer",
    **{(f"{PATH}/{verb}", "post"): f"{verb}Answer" for verb in VERBS},
}
_TICKET: Final = {
    "name": "ticket",
    "in": "path",
    "required": True,
    "schema": STRING,
    "description": "Out of the webhook's header aq-answer-url.",
}
_NEWER: Final = {"type": "integer", "minimum": 0, "description": "Messages that came since."}
_UNTIL: Final = {"type": ["string", "null"], "format": "date-time"}
_SECONDS: Final = {"type": ["number", "string"]}
_OVER: Final = "410"


def answers() -> dict[str, Any]:
    state = {"type": "string", "enum": list(get_args(AnswerState))}
    look = _said(
        "How it stands with a batch that was answered 202",
        {"200": json_of("The state", _object(state=state, newer=_NEWER, until=_UNTIL))},
        f"With `wait` as soon as something newer waits or the batch is closed, at the latest after "
        f"so many seconds, {WAIT_MAX_S:g} at most. {WAITING_MAX} calls wait in a replica at "
        f"once, {WAITING_OF_CONVERSATION_MAX} of them for one conversation.",
        parameters=[{"name": "wait", "in": "query", "schema": {**_SECONDS, "minimum": 0}}],
    )
    closed = _object(state={"type": "string"}, newer=_NEWER)
    back = _object(newer=_NEWER, taken_back={"const": True})
    done = _said(
        "Say that the batch is done",
        {"200": json_of("It is done", closed), "409": json_of("It was taken back", back)},
        "With `if` only unless something newer waits; then the messages come again in front of the "
        "newer ones, at most twice in a row. Repeating it answers the same.",
        body={
            "if": {"enum": ["latest", "", None]},
            "sent": {
                "type": ["array", "null"],
                "maxItems": SENT_MAX,
                "items": {"type": ["string", "integer"]},
                "description": "The platform's ids of what the receiver sent to the user: a door "
                "does not take them for a human's.",
            },
        },
    )
    extend = _said(
        "Ask for more time",
        {"200": json_of("There is time", _object(until=_UNTIL, newer=_NEWER))},
        f"So long from now, and in all {ANSWER_MAX_MS // 1000} seconds after the 202.",
        body={"seconds": {**_SECONDS, "exclusiveMinimum": 0}},
        required=("seconds",),
    )
    fail = _said(
        "Say that it failed",
        {"200": json_of("Recorded", closed)},
        "A failed attempt, tried again on the schedule, or with `retry` false a dead letter.",
        body={
            "reason": {"type": ["string", "null"]},
            "retry_after": {"type": ["number", "string", "null"], "minimum": 0},
            "retry": {"type": ["boolean", "null"]},
        },
    )
    of = [_TICKET]
    return {
        PATH: {"parameters": of, "get": look},
        f"{PATH}/done": {"parameters": of, "post": done},
        f"{PATH}/extend": {"parameters": of, "post": extend},
        f"{PATH}/fail": {"parameters": of, "post": fail},
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _said(
    summary: str,
    answers: dict[str, Any],
    text: str,
    *,
    body: dict[str, Any] | None = None,
    required: tuple[str, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
) -> Operation:
    schema: dict[str, Any] = {"type": "object", "properties": body, "additionalProperties": False}
    if required:
        schema["required"] = list(required)
    found = operation(
        "Answers",
        summary,
        None,
        answers,
        "404",
        _OVER,
        "422",
        "503",
        description=text,
        parameters=parameters or [],
        body=None if body is None else body_of({JSON: schema}, required=bool(required)),
    )
    return found | {"security": []}

"""The schemas of `openapi.json`: every body that comes in, goes out, or leaves as a webhook."""

from __future__ import annotations

from typing import Any, Final, get_args

from actor_queue.core.batch import Reason
from actor_queue.core.message import MESSAGE_ID_BYTES_MAX, USER_BYTES_MAX
from actor_queue.core.settings import Settings
from actor_queue.http.inputs import HOLD_DEFAULT_S, HOLD_MAX_S
from actor_queue.store.api import AttemptOutcome, UserState

Schema = dict[str, Any]

STRING: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SECONDS: Final[Schema] = {"type": "number", "description": "Seconds."}
MAYBE_SECONDS: Final[Schema] = {"type": ["number", "null"], "description": "Seconds."}
MAYBE_STRING: Final[Schema] = {"type": ["string", "null"]}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
SUCCESS: Final[Schema] = {"const": True}

SECONDS_AS_TEXT: Final = r"^ *([0-9]{1,15}(\.[0-9]{1,15})?|-0{1,15}(\.0{1,15})?)? *$"
"""Of what is not text, JSON Schema asks no pattern."""


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def listed(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def record(properties: Schema, description: str = "", *, optional: tuple[str, ...] = ()) -> Schema:
    """An object whose properties are all there, but for `optional` ones."""
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }
    if description:
        schema["description"] = description
    return schema


def schemas(settings: Settings) -> Schema:
    return {
        "Message": _message(settings),
        "Accepted": ACCEPTED,
        "Problem": PROBLEM,
        "Result": {"oneOf": [ref("Accepted"), ref("Problem")]},
        "Typing": _typing(settings),
        "Hold": HOLD,
        "Nothing": NOTHING,
        "User": USER,
        "UserDetail": USER_DETAIL,
        "TypingAnswer": TYPING_ANSWER,
        "UserList": record({"users": listed(ref("User")), "cursor": CURSOR}),
        "Batch": BATCH,
        "Attempt": ATTEMPT,
        "Dropped": DROPPED,
        "DeadLetter": record(DEAD_LETTER),
        "DeadLetterDetail": record({**DEAD_LETTER, "batch": ref("Webhook")}),
        "ReplayJob": REPLAY_JOB,
        "DeadList": record({"dead": listed(ref("DeadLetter")), "cursor": CURSOR}),
        "Shards": SHARDS,
        "Webhook": WEBHOOK,
    }


REPLAY_JOB: Final[Schema] = record(
    {
        "job": {"type": "string"},
        "state": {
            "enum": ["running", "stopping", "done", "stopped", "abandoned"],
            "description": "abandoned: the replica that did it is gone, and a new job takes it up.",
        },
        "total": {"type": ["integer", "null"], "description": "Null until they are counted."},
        "replayed": {"type": "integer", "minimum": 0},
        "passed_over": {
            "type": "integer",
            "minimum": 0,
            "description": "Gone meanwhile, or not to be read.",
        },
    }
)

CURSOR: Final[Schema] = {
    "type": ["string", "null"],
    "description": "Continues the list; null at its end.",
}


def _message(settings: Settings) -> Schema:
    ttl_max = settings.max_ttl_ms / 1000
    message = record(
        {
            "user": {
                "type": ["string", "integer"],
                "minLength": 1,
                "maxLength": USER_BYTES_MAX,
                "description": f"Whose message it is: 1 to {USER_BYTES_MAX} bytes as text.",
                "examples": ["joao.silva"],
            },
            "message": {
                "type": ["string", "number", "null"],
                "description": "The text. A number is taken as it is written, null as empty.",
                "examples": ["queria saber do meu pedido"],
            },
            "ttl": {
                "type": ["number", "string", "null"],
                "minimum": 0,
                "maximum": ttl_max,
                "pattern": SECONDS_AS_TEXT,
                "default": settings.default_ttl_ms / 1000,
                "description": "Seconds of quiet before the batch goes, also as text; 0 sends at "
                "once, an empty text is the default.",
                "examples": [30],
            },
            "message_id": {
                "type": ["string", "integer", "null"],
                "maxLength": MESSAGE_ID_BYTES_MAX,
                "description": "The platform's own id: a message with a known one is not taken "
                f"twice. Up to {MESSAGE_ID_BYTES_MAX} bytes; an empty one is none.",
                "examples": ["wamid.HBgL"],
            },
        },
        "Every other field passes through to the webhook.",
        optional=("ttl", "message_id"),
    )
    return {**message, "additionalProperties": True}


ACCEPTED: Final = record(
    {
        "success": SUCCESS,
        "user": STRING,
        "message_id": {**STRING, "description": "Yours, or one that was made for the message."},
        "pending": {**COUNT, "description": "Messages that wait for their batch to close."},
        "fires_in": {**SECONDS, "description": "Seconds until the batch goes if nothing follows."},
        "duplicate": {**BOOLEAN, "description": "True: it was here already, nothing changed."},
    }
)

PROBLEM: Final = record(
    {
        "title": STRING,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": STRING,
        "field": {**STRING, "description": "The field that is wrong, if one is."},
    },
    "RFC 9457.",
    optional=("field",),
)


def _typing(settings: Settings) -> Schema:
    ttl = {
        "type": ["number", "string", "null"],
        "exclusiveMinimum": 0,
        "maximum": settings.max_ttl_ms / 1000,
        "pattern": SECONDS_AS_TEXT,
        "description": "Seconds from now, also as text; without it, or with an empty text, the ttl "
        "of the user's last message.",
        "examples": [10],
    }
    return {**record({"ttl": ttl}, optional=("ttl",)), "additionalProperties": False}


HOLD: Final = {
    **record(
        {
            "seconds": {
                "type": ["number", "string", "null"],
                "exclusiveMinimum": 0,
                "maximum": HOLD_MAX_S,
                "pattern": SECONDS_AS_TEXT,
                "default": HOLD_DEFAULT_S,
                "description": "How long at most, also as text.",
            }
        },
        optional=("seconds",),
    ),
    "additionalProperties": False,
}

NOTHING: Final[Schema] = {
    "type": "object",
    "maxProperties": 0,
    "description": "An empty object: there is nothing to say.",
}

BATCH: Final = record(
    {
        "id": {**STRING, "description": "The webhook-id."},
        "seq": {**COUNT, "description": "Counts the user's batches."},
        "reason": {"enum": list(get_args(Reason)), "description": "Why it was closed."},
        "messages": COUNT,
        "attempts": COUNT,
        "closed_at": TIME,
        "retry_in": {**MAYBE_SECONDS, "description": "Null while an attempt is under way."},
        "attempt_for": {
            **MAYBE_SECONDS,
            "description": "Since the attempt under way began, where all replicas have the same "
            "AQ_WEBHOOK_TIMEOUT; null while none is. `fires_in` is then how long it may take more.",
        },
        "failure": {
            **MAYBE_STRING,
            "description": "Why the last attempt failed; null if none has.",
        },
    }
)

_USER: Final[Schema] = {
    "user": STRING,
    "state": {"enum": list(get_args(UserState))},
    "pending": COUNT,
    "fires_in": {**MAYBE_SECONDS, "description": "Seconds until the next thing happens."},
    "held_for": MAYBE_SECONDS,
    "batch": {"oneOf": [ref("Batch"), {"type": "null"}], "description": "The batch under way."},
}
USER: Final = record(_USER)

STATUS: Final[Schema] = {
    "type": ["integer", "null"],
    "minimum": 100,
    "maximum": 999,
    "description": "The receiver's HTTP status.",
}
LAST_ATTEMPT: Final[Schema] = {
    "answer": {
        **MAYBE_STRING,
        "description": "The first 300 bytes of what a failing receiver answered, as text. It may "
        "repeat what a person wrote.",
    },
    "replica": {**MAYBE_STRING, "description": "Who made the attempt."},
    "duration_ms": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "From the start of the attempt to its end, in milliseconds.",
    },
}

ATTEMPT: Final = record(
    {
        "batch_id": STRING,
        "attempt": {**COUNT, "description": "1 for the first."},
        "at": TIME,
        "outcome": {"enum": list(get_args(AttemptOutcome))},
        "status": STATUS,
        "reason": MAYBE_STRING,
        **LAST_ATTEMPT,
        "messages": COUNT,
    }
)

_USER_DETAIL: Final[Schema] = {
    **_USER,
    "recent": {**listed(ref("Attempt")), "description": "The last attempts, newest first."},
    "logged_as": {**STRING, "description": "How the log names this user, unless AQ_LOG_USERS."},
}
USER_DETAIL: Final = record(_USER_DETAIL)
TYPING_ANSWER: Final = record(
    {
        **_USER_DETAIL,
        "extended": {**BOOLEAN, "description": "False: no window was open, nothing changed."},
    }
)

DROPPED: Final = record(
    {
        "success": SUCCESS,
        "user": STRING,
        "dropped": {**COUNT, "description": "How many messages."},
        "batch": {**MAYBE_STRING, "description": "The batch that waited for its retry, if any."},
        "complete": {
            **BOOLEAN,
            "description": "False: `messages` has only a part of those that were dropped.",
        },
        "messages": {
            **listed({"type": "object", "additionalProperties": True}),
            "description": "The original objects with seq, message_id and received_at, oldest "
            "first, up to 1 MiB of them.",
        },
    }
)

DEAD_LETTER: Final[Schema] = {
    "id": {**STRING, "description": "The webhook-id."},
    "user": STRING,
    "died_at": TIME,
    "attempts": COUNT,
    "reason": STRING,
    "status": STATUS,
    **LAST_ATTEMPT,
    "messages": COUNT,
    "queued": {**BOOLEAN, "description": "A replay is on its way."},
}

SHARDS: Final = record(
    {
        "replicas": listed(record({"id": STRING, "seen_ago": SECONDS, "shards": COUNT})),
        "shards": listed(
            record(
                {
                    "shard": COUNT,
                    "owner": MAYBE_STRING,
                    "epoch": COUNT,
                    "since": {"type": ["string", "null"], "format": "date-time"},
                    "remaining": {**SECONDS, "description": "Seconds until the lease ends."},
                    "waiting": {**COUNT, "description": "Users with a next step here."},
                }
            )
        ),
    }
)

WEBHOOK: Final = {
    **record(
        {
            "user": STRING,
            "user_id": STRING,
            "messages": listed(STRING),
            "processed_at": {
                **STRING,
                "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$",
                "description": "The moment the batch was closed, in UTC; its text names no zone.",
                "examples": ["2025-01-30T01:19:45"],
            },
            "batch": {
                "type": "object",
                "description": "With AQ_PAYLOAD=detailed: id, seq, reason, first_at, last_at and "
                "due_at, and in a half of a batch that was answered 413 divided_from.",
            },
            "items": {
                **listed({"type": "object"}),
                "description": "With AQ_PAYLOAD=detailed: each original object with seq, "
                "message_id and received_at.",
            },
        },
        "Pass-through fields are merged; the last message that has a field wins.",
        optional=("batch", "items"),
    ),
    "additionalProperties": True,
}

"""What a browser says to sign in, and what it is told of its session."""

from __future__ import annotations

from typing import Annotated, Literal

from actor_queue.http.models.kinds import MaybeMoment, Model, about

Scope = Literal["ingest", "read", "admin"]


class SignIn(Model, frozen=True, forbid_unknown_fields=True):
    # Read by `session_api`, which quotes nothing of it.
    key: Annotated[str, about("One of AQ_API_KEYS, without its scope.", minLength=1)]


class Session(Model, frozen=True):
    scope: Annotated[Scope, about("The strongest that the caller has.")]
    scopes: list[Scope]
    name: Annotated[str | None, about("Of the key; null where there are no keys.")]
    expires: Annotated[MaybeMoment, about("When the session ends; null without a session.")]

"""What the service says of itself."""

from __future__ import annotations

from typing import Annotated, Literal

from actor_queue.http.models.kinds import Count, MaybeMoment, Model, Moment, Seconds, about


class Replica(Model, frozen=True):
    id: str
    seen_ago: Seconds
    shards: Count


class Lease(Model, frozen=True):
    shard: Count
    owner: str | None
    epoch: Count
    since: MaybeMoment
    remaining: Annotated[Seconds, about("Seconds until the lease ends.")]
    waiting: Annotated[Count, about("Users with a next step here.")]


class Shards(Model, frozen=True):
    replicas: list[Replica]
    shards: list[Lease]


class Finding(Model, frozen=True):
    level: Annotated[Literal["ok", "warn", "fail"], about("fail: messages wait or are refused.")]
    check: Annotated[str, about("What was looked at.")]
    text: Annotated[str, about("What was found, and what to do unless it is ok.")]


class Checkup(Model, frozen=True):
    healthy: Annotated[bool, about("Nothing failed.")]
    at: Annotated[Moment, about("When it was looked at; an answer may be 5 seconds old.")]
    findings: list[Finding]


class Health(Model, frozen=True):
    status: Literal["ok"]

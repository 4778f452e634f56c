"""`shards` and `status`: the replicas, who owns what, and how all is going."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from actor_queue.app.commands.asking import Asking, asks, pages
from actor_queue.app.terminal import NO, counted, show_json, show_paragraphs, show_table, span

if TYPE_CHECKING:
    from actor_queue.app.remote import Remote

SHARD_COLUMNS = ("shard", "owner", "epoch", "since", "remaining", "waiting")
REPLICA_COLUMNS = ("id", "seen_ago", "shards")
USERS_LOOKED_AT_MAX = 10_000
LETTERS_COUNTED_MAX = 10_000
SECOND = len("2025-01-30T01:19:45")

Json = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.command("shards")(shards)
    app.command("status")(status)


@asks("read")
def shards(asking: Asking) -> None:
    """The replicas, and who owns which shard."""
    answer = asking.service.get("/api/shards")
    if asking.as_json:
        show_json(answer)
        return
    print("replicas:")
    _show_rows(REPLICA_COLUMNS, answer.get("replicas", []), "no replica is alive")
    print("\nshards:")
    # Without milliseconds a shard is one line of 80 columns.
    rows = [
        shard | {"since": shard.get("since") and f"{shard['since'][:SECOND]}Z"}
        for shard in answer.get("shards", [])
    ]
    _show_rows(SHARD_COLUMNS, rows, "there are no shards")


@asks("read")
def status(asking: Asking) -> int:
    """How all is going, on one screen; status 1 when not ready."""
    report = _report(asking.service)
    if asking.as_json:
        show_json(report)
    else:
        show_paragraphs(_lines(report))
    return 0 if report["ready"] else NO


def _show_rows(columns: tuple[str, ...], rows: list[Json], empty: str) -> None:
    if rows:
        show_table(columns, rows)
    else:
        print(empty)


# What is asked


def _report(service: Remote) -> Json:
    """Everything that can be had; what the service cannot say now is None."""
    from actor_queue.app.remote import Refused, Unreachable

    reason = service.unready()
    report: Json = {"url": service.url, "ready": reason is None, "reason": reason}
    for name, ask in (
        ("ownership", _ownership),
        ("users", _users),
        ("dead", _dead),
        ("since_start", _since_start),
    ):
        try:
            report[name] = ask(service)
        except Unreachable:
            raise
        except Refused as refused:
            if refused.status != 503:
                raise
            report[name] = None
    return report


def _ownership(service: Remote) -> Json:
    answer = service.get("/api/shards")
    leases = answer.get("shards", [])
    return {
        "replicas": answer.get("replicas", []),
        "shards": len(leases),
        "shards_without_owner": sum(lease.get("owner") is None for lease in leases),
        "users_waiting": sum(lease.get("waiting", 0) for lease in leases),
    }


def _users(service: Remote) -> Json:
    """Of the users who are due soonest, at most `USERS_LOOKED_AT_MAX`."""
    states: Counter[str] = Counter()
    pending: Counter[str] = Counter()
    in_batches = 0
    next_in = oldest = failure = held_for = None
    more = False
    for page in pages(service, "/api/users", "users", USERS_LOOKED_AT_MAX, None):
        for view in page.get("users", []):
            states[view["state"]] += 1
            pending[view["state"]] += view.get("pending", 0)
            batch = view.get("batch") or {}
            in_batches += batch.get("messages", 0)
            if view["state"] == "collecting" and next_in is None:
                next_in = view.get("fires_in")
            if view["state"] == "retrying" and (oldest is None or batch["closed_at"] < oldest):
                oldest, failure = batch["closed_at"], batch.get("failure")
            if view["state"] == "held":
                held_for = max(held_for or 0.0, view.get("held_for") or 0.0)
        more = bool(page.get("cursor"))
    return {
        "looked_at": sum(states.values()),
        "all": not more,
        "collecting": states["collecting"],
        "delivering": states["delivering"],
        "answering": states["answering"],
        "retrying": states["retrying"],
        "held": states["held"],
        "messages_pending": pending.total(),
        "messages_collecting": pending["collecting"],
        "messages_behind_batches": pending["delivering"]
        + pending["answering"]
        + pending["retrying"],
        "messages_held": pending["held"],
        "messages_in_batches": in_batches,
        "next_in": next_in,
        "oldest_retry": oldest,
        "oldest_retry_failure": failure,
        "longest_hold": held_for,
    }


def _dead(service: Remote) -> Json:
    letters = unreadable = 0
    newest: Json | None = None
    more = False
    for page in pages(service, "/api/dead", "dead", LETTERS_COUNTED_MAX, None):
        listed = page.get("dead", [])
        letters += len(listed)
        unreadable += page.get("unreadable", 0)
        newest = newest or next(iter(listed), None)
        more = bool(page.get("cursor"))
    return {"letters": letters, "unreadable": unreadable, "all": not more, "newest": newest}


def _since_start(service: Remote) -> Json:
    """What the replica that answers has counted."""
    metrics = service.metrics()

    def total(name: str) -> int:
        return int(metrics.get(f"actor_queue_{name}", 0))

    attempts = total("attempt_seconds_count")
    spent_s = metrics.get("actor_queue_attempt_seconds_sum", 0.0)
    return {
        "accepted": total("accepted_total"),
        "delivered": total("delivered_total"),
        "failed": total("failed_total"),
        "dead": total("dead_total"),
        "store_failures": total("store_failures_total"),
        "attempt_seconds_mean": spent_s / attempts if attempts else None,
    }


# How it is said


def _lines(report: Json) -> list[tuple[str, str]]:
    lines = [
        ("service", report["url"]),
        ("ready", "yes" if report["ready"] else f"no: {report['reason']}"),
    ]
    if report["ownership"] is not None:
        lines += _ownership_lines(report["ownership"])
    if report["users"] is not None:
        lines += _user_lines(report["users"])
    if report["dead"] is not None:
        lines.append(("dead", _dead_words(report["dead"])))
    if report["since_start"] is not None:
        lines += _since_start_lines(report)
    return lines


def _ownership_lines(ownership: Json) -> list[tuple[str, str]]:
    replicas = ownership["replicas"]
    unowned = ownership["shards_without_owner"]
    share = ", ".join(f"{replica['id']} has {replica['shards']}" for replica in replicas[:8])
    owned = "all have an owner" if not unowned else f"{unowned} have no owner"
    return [
        ("replicas", f"{len(replicas)}"),
        ("shards", f"{ownership['shards']}, {owned}" + (f"; {share}" if share else "")),
        ("waiting", counted(ownership["users_waiting"], "user")),
    ]


def _user_lines(users: Json) -> list[tuple[str, str]]:
    if not users["looked_at"]:
        return []
    of = "" if users["all"] else f", of the first {users['looked_at']:,} users"
    next_in = "" if users["next_in"] is None else f", the next fires in {span(users['next_in'])}"
    oldest = users["oldest_retry"]
    retries = "" if oldest is None else f", the oldest batch was closed at {oldest}"
    failure = users["oldest_retry_failure"]
    held = users["longest_hold"]
    holds = "" if held is None else f", the longest for {span(held)} more"
    lines = [
        ("collecting", f"{_with(users, 'collecting')}{next_in}{of}"),
        ("delivering", f"{users['delivering']:,}{of}"),
        *([("answering", f"{users['answering']:,}{of}")] if users["answering"] else []),
        ("retrying", f"{users['retrying']:,}{retries}" + (f": {failure}" if failure else "") + of),
        ("held", f"{_with(users, 'held')}{holds}{of}"),
    ]
    if behind := users["messages_behind_batches"]:
        lines.insert(3, ("behind", f"{counted(behind, 'message')} behind batches under way{of}"))
    return lines


def _with(users: Json, state: str) -> str:
    """`3 with 7 messages`; only the number where no message waits."""
    messages = users[f"messages_{state}"]
    return f"{users[state]:,}" + (f" with {counted(messages, 'message')}" if messages else "")


def _dead_words(dead: Json) -> str:
    spoilt = dead["unreadable"]
    besides = f"; {spoilt:,} more cannot be read, see `actor-queue doctor`" if spoilt else ""
    if not dead["letters"]:
        return f"no dead letters{besides}"
    newest = dead["newest"]
    more = "" if dead["all"] else "more than "
    return (
        f"{more}{counted(dead['letters'], 'dead letter')}, the newest of {newest['died_at']}:"
        f" {newest['reason']}{besides}"
    )


def _since_start_lines(report: Json) -> list[tuple[str, str]]:
    seen = report["since_start"]
    mean_s = seen["attempt_seconds_mean"]
    mean = "" if mean_s is None else f", {mean_s * 1000:.0f} ms an attempt"
    redis = "answers" if report["ready"] else "see above"
    return [
        ("redis", f"{redis}; {counted(seen['store_failures'], 'failed call')} since the start"),
        (
            "webhook",
            f"{counted(seen['delivered'], 'batch', 'batches')} delivered,"
            f" {counted(seen['failed'], 'failed attempt')}, {seen['dead']:,} dead since the start"
            f"{mean}",
        ),
    ]

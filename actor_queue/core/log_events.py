"""The names of everything the log can say, each with its level and its meaning.

The one table: the level of a line comes from it, and `docs/log.md` shows it. A name that is
not here cannot be logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from actor_queue.core.settings import LogLevel


class LogEvent(NamedTuple):
    """One row."""

    name: str
    level: LogLevel
    meaning: str


# fmt: off
LOG_EVENTS: tuple[LogEvent, ...] = (
    LogEvent("configuration", "info",
             "the settings that differ from their defaults, without secrets"),
    LogEvent("routes_read", "info",
             "what AQ_CONFIG says, at the start and at SIGHUP: how many routes there are, and each "
             "with its receiver's host and a hash of its path"),
    LogEvent("route_missing", "warning",
             "conversations are due on a route that is not configured (any more); they wait until "
             "it is; once a minute for each route"),
    LogEvent("settings_doubtful", "warning", "settings that are allowed and may not be meant"),
    LogEvent("variables_ignored", "info",
             "variables that a container platform has set and that look like settings"),
    LogEvent("listening", "info", "the address is open"),
    LogEvent("traces_not_sent", "warning",
             "OTEL_EXPORTER_OTLP_ENDPOINT is set, and what sends traces is not installed"),
    LogEvent("redis_awaited", "warning", "the start waits for Redis; `reason` says why"),
    LogEvent("redis_not_persistent", "warning",
             "Redis reports no append-only file, so its restart may lose messages; not in `dev`"),
    LogEvent("ready", "info", "messages are accepted from now on"),
    LogEvent("stopping", "info", "a stop was asked for; `signal` says how"),
    LogEvent("stopped", "info", "everything under way has been finished"),
    LogEvent("stopped_at_once", "warning", "a second signal ended the process"),
    LogEvent("crashed", "error",
             "a fault of the service ended the process; `error` and `at` say which and where"),
    LogEvent("worker_started", "info", "the parent started a worker"),
    LogEvent("worker_ended", "warning",
             "a worker ended although nobody asked it to; it is started again"),
    LogEvent("worker_stopped", "info", "a worker ended because it was told to"),
    LogEvent("worker_killed", "warning", "a worker did not finish in time and was ended"),
    LogEvent("worker_unfinished", "error", "a worker that was told to finish ended in another way"),
    LogEvent("worker_start_failed", "warning", "a worker could not be started"),
    LogEvent("receiver_failing", "warning",
             "the first attempt that failed after the receiver was well; `route` where it is not "
             "the default one, here and in the next two"),
    LogEvent("receiver_still_failing", "warning",
             "a minute's summary: how many attempts failed and were delivered, of how many "
             "users, the last reason"),
    LogEvent("receiver_recovered", "info",
             "an attempt was delivered again; `after_s` since the first failure"),
    LogEvent("route_opened", "warning",
             "most of a route's last attempts failed, so nothing is attempted on it until a probe "
             "is answered; nothing is lost and no retry is spent"),
    LogEvent("route_probe_failed", "warning",
             "the route stays open; the next probe goes after twice as long, at most a minute"),
    LogEvent("route_closed", "info",
             "a probe was answered: what has waited goes, at a growing pace; `after_s` since it "
             "was opened"),
    LogEvent("route_paused", "warning",
             "somebody paused a route: nothing is attempted on it; `key` is the name of the key"),
    LogEvent("route_resumed", "info", "somebody ended the pause of a route"),
    LogEvent("test_sent", "info",
             "somebody had a test batch sent on a route; `key` is the name of the key, `result` "
             "says what came of it: ok, warn, fail"),
    LogEvent("dead_letter", "warning",
             "a batch was given up; `actor-queue dead show BATCH` has it; `route` where it is not "
             "the default one"),
    LogEvent("alert_failed", "warning",
             "AQ_ALERT_URL took an alert of the kind `kind` at no attempt; `reason` of the last"),
    LogEvent("dead_letters_expired", "info",
             "dead letters older than AQ_DEAD_RETENTION were deleted; `count` since the last such "
             "line, at most one a minute"),
    LogEvent("redis_lost", "warning", "Redis cannot be reached or does not answer"),
    LogEvent("redis_refusing", "warning",
             "Redis answers and refuses; `why` is full, read_only, loading, cannot_save, …; or it "
             "would take messages, and AQ_REDIS_RESERVE stops them: `why` is nearly_full"),
    LogEvent("redis_still_away", "warning", "a minute's summary while Redis is lost or refuses"),
    LogEvent("redis_back", "info", "Redis takes writes again; `after_s` since it was lost"),
    LogEvent("entries_set_aside", "warning",
             "in a timer index in Redis stand entries that are no users of its shard, or users "
             "at whose keys somebody put another kind of value; they are passed over; `count` "
             "since the last such line"),
    LogEvent("leases_replaced", "warning",
             "what stood at the key of a shard's lease was no lease and was moved aside; "
             "`actor-queue doctor` says where it is; `count` since the last such line"),
    LogEvent("messages_ignored", "warning",
             "what came over publish and subscribe and is no event and no nudge; `count` since "
             "the last such line, at most one a minute"),
    LogEvent("shards_taken", "info",
             "this replica owns shards from now on; `why` is unowned, handed_over, lease_ended "
             "or dead_member"),
    LogEvent("shards_given", "info", "this replica gave shards back, to balance or to stop"),
    LogEvent("shards_lost", "warning", "the store says that a shard is another replica's by now"),
    LogEvent("lease_lapsed", "warning",
             "leases were not renewed in time: nothing is started in these shards"),
    LogEvent("lease_regained", "info", "lapsed leases were renewed before anybody took the shards"),
    LogEvent("hold_began", "info", "a user's messages are held; `for_s` at most"),
    LogEvent("hold_ended", "info", "a hold is over; `how` is by_hand or by_time"),
    LogEvent("accept_errors", "warning",
             "connections could not be accepted; `count` since the last such line, at most one a "
             "minute"),
    LogEvent("connections_evicted", "warning",
             "the limit of connections was reached and idle ones were closed; `count` as above"),
    LogEvent("connections_waited", "warning",
             "the limit of connections was reached and new ones had to wait; `count` as above"),
    LogEvent("requests_refused", "warning",
             "requests ended before any handler saw them: broken, too large, too slow, or of a "
             "foreign host or page (403); `count` as above"),
    LogEvent("streams_put_out", "warning",
             "too many listened to /api/events, and those furthest behind, or the oldest, had to "
             "go; `count` as above"),
    LogEvent("requests_put_off", "warning",
             "too many requests without a key waited for a page, and others got 503; `count` as "
             "above"),
    LogEvent("signed_in", "info",
             "a key was exchanged for a session; `key` is its name, `scope` what it may do"),
    LogEvent("texts_shown", "info",
             "somebody was shown what a user wrote; `key` is the name of the key that asked, none "
             "where there are no keys"),
    LogEvent("sign_ins_refused", "warning",
             "sign-ins with a wrong key, or too many of them from one address; `count` as above"),
    LogEvent("keys_read_again", "info",
             "SIGHUP: AQ_API_KEYS has been read; `added` and `removed` say how many keys changed"),
    LogEvent("keys_unchanged", "warning",
             "SIGHUP: AQ_API_KEYS cannot be used as it is now, and what held before still holds; "
             "`reason` says why"),
    LogEvent("routes_unchanged", "warning",
             "SIGHUP: AQ_CONFIG cannot be used as it is now, and what held before still holds; "
             "`reason` says why"),
    LogEvent("routes_missing", "warning",
             "SIGHUP: routes that AQ_CONFIG had are gone from it; what waits there waits on"),
    LogEvent("request_failed", "error", "a fault of the service while it answered"),
    LogEvent("connection_failed", "error",
             "a fault of the service on one connection; the others go on"),
    LogEvent("inbox_file_unreadable", "warning",
             "a file of the inbox of `dev` is damaged or none of its own, and was set aside"),
    LogEvent("library", "warning",
             "a library logged something; its text is not shown, because it may quote a message"),
    LogEvent("and_more", "warning", "`lines` more of the kind `of` were left out in one second"),
    LogEvent("lines_dropped", "warning",
             "standard error took lines too slowly, and so many were dropped"),
)
# fmt: on

LEVEL_OF: Mapping[str, LogLevel] = {event.name: event.level for event in LOG_EVENTS}

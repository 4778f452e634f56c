"""The one table of the settings: what each is called outside, what it may be, and what it is for.

The environment, the flags of the command line, `.env.example` and the error sentences all come
from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actor_queue.core import setting_kinds as kinds
from actor_queue.core.setting_kinds import Kind
from actor_queue.core.webhook_headers import WEBHOOK_HEADERS

PREFIX = "AQ_"
"""Names that start with this are ours: one that is not in the table is refused."""

YEAR_S = 31_536_000


@dataclass(frozen=True, slots=True)
class Variable:
    """One row of the table: a setting as the outside knows it."""

    name: str
    field: str | None
    """The field of `Settings`; None where `parse` combines several variables into one field."""
    kind: Kind
    default: str
    """As one would write it; empty = unset."""
    help: str
    secret: bool = False
    """The value may hold a credential, so it appears in no message."""

    @property
    def allowed(self) -> str:
        return self.kind.allowed

    @property
    def flag(self) -> str:
        """`AQ_DEFAULT_TTL` → `default-ttl`, `REDIS_URL` → `redis-url`."""
        return self.name.removeprefix(PREFIX).lower().replace("_", "-")


# fmt: off
VARIABLES: tuple[Variable, ...] = (
    Variable("REDIS_URL", "redis_url", kinds.REDIS_URL, "",
             "where Redis is: redis://user:password@host:6379/0, rediss://… with TLS, unix://…, or"
             " redis+cluster://host:6379,host:6379, redis+sentinel://host:26379,host:26379/name",
             secret=True),
    Variable("REDIS_HOST", None, kinds.HOST, "",
             "the host of Redis, used when REDIS_URL is not set"),
    Variable("REDIS_PORT", None, kinds.REDIS_PORT, "6379",
             "the port of REDIS_HOST"),
    Variable("REDIS_PASSWORD", None, kinds.TEXT, "",
             "the password of REDIS_HOST", secret=True),
    Variable("WEBHOOK_URL", "webhook_url", kinds.WEBHOOK_URL, "",
             "where batches go", secret=True),
    Variable("WEBHOOK_SECRET", "webhook_secrets", kinds.SECRETS, "",
             "signs the webhooks; two, separated by a space, while rotating", secret=True),
    Variable("WEBHOOK_HEADERS", "webhook_headers", WEBHOOK_HEADERS, "",
             'a JSON object of headers for each webhook, such as {"authorization": "Bearer …"}',
             secret=True),
    Variable("AQ_CONFIG", "config", kinds.FILE, "",
             "a TOML file with more receivers, a table [routes.NAME] each; read again at SIGHUP"),
    Variable("AQ_ALERT_URL", "alert_url", kinds.WEBHOOK_URL, "",
             "where operators are told of dead letters, a failing receiver and one that is back,"
             " and that nothing is delivered; signed as the webhooks, at most once a minute each",
             secret=True),
    Variable("AQ_BIND", "bind", kinds.ADDRESS, "127.0.0.1:8000",
             "the address to listen on"),
    Variable("PORT", None, kinds.PORT, "",
             "alone it means AQ_BIND=0.0.0.0:$PORT; AQ_BIND wins"),
    Variable("AQ_PROBE_BIND", "probe_bind", kinds.ADDRESS, "",
             "a second address, for /healthz, /readyz and /metrics alone"),
    Variable("AQ_MAX_CONNECTIONS", "max_connections", kinds.whole(8, 1_000_000), "8000",
             "connections open at once; when one more comes, slow and idle ones make room"),
    Variable("AQ_MAX_PER_ADDRESS", "max_per_address", kinds.whole(0, 1_000_000), "0",
             "connections of one address above which its slow ones make room before those of"
             " others; 0 = an eighth of AQ_MAX_CONNECTIONS"),
    Variable("AQ_MIN_PACE", "min_pace", kinds.whole(0, 1_000_000), "1000",
             "bytes per second that a body has to come with; one that is 30 s behind is answered"
             " 408; 0 = any byte is enough"),
    Variable("AQ_WORKERS", "workers", kinds.whole(1, 256), "1",
             "processes sharing the socket; each is a replica"),
    Variable("AQ_DEFAULT_TTL", "default_ttl_ms", kinds.seconds(0, YEAR_S), "15",
             "seconds of quiet after which a user's batch goes, when the message names no ttl"),
    Variable("AQ_MAX_TTL", "max_ttl_ms", kinds.seconds("0.001", YEAR_S), "86400",
             "the longest ttl a message may ask for, in seconds"),
    Variable("AQ_MAX_WAIT", "max_wait_ms", kinds.seconds(0, YEAR_S), "0",
             "seconds after a batch's first message at which it goes whatever happens; 0 = off"),
    Variable("AQ_MAX_MESSAGES", "max_messages", kinds.whole(1, 10_000), "500",
             "a batch with this many messages goes at once"),
    Variable("AQ_MAX_BATCH_BYTES", "max_batch_bytes", kinds.size(1, 67_108_864), "",
             "a batch of this many bytes goes at once; a message that would make it larger opens"
             " the next one; unset, it is the greater of 1 MiB and twice AQ_MAX_BODY"),
    Variable("AQ_MAX_BODY", "max_body_bytes", kinds.size(64, 16_777_216), "262144",
             "the largest request for one message, in bytes"),
    Variable("AQ_MAX_PENDING", "max_pending", kinds.whole(1, 1_000_000), "10000",
             "messages waiting for one user above which its POSTs get 429"),
    Variable("AQ_MAX_PENDING_BYTES", "max_pending_bytes", kinds.size(1, 1_099_511_627_776),
             "67108864",
             "bytes waiting for one user, as they are stored, above which its POSTs get 429"),
    Variable("AQ_REDIS_RESERVE", "redis_reserve_bytes", kinds.size(0, 1_099_511_627_776), "",
             "new messages get 503 while Redis has less than this left of its maxmemory, in bytes;"
             " unset, it is a tenth of maxmemory, at most 32 MiB; 0 = off"),
    Variable("AQ_DEDUP_WINDOW", "dedup_window_ms", kinds.seconds("0.1", YEAR_S), "3600",
             "seconds a message_id is remembered"),
    Variable("AQ_RETRY_SCHEDULE", "retry_schedule_ms", kinds.SCHEDULE, "1,5,15,60,300",
             "seconds before each retry; after the last the batch is a dead letter"),
    Variable("AQ_DEAD_RETENTION", "dead_retention_days", kinds.days(36_500), "0",
             "days for which a dead letter is kept, then it is deleted; 0 = for ever"),
    Variable("AQ_HISTORY", "history", kinds.whole(0, 100_000), "10000",
             "attempts remembered over all users, at most 300 bytes each in Redis; 0 = none; each"
             " user's own last 20 are kept besides"),
    Variable("AQ_WEBHOOK_TIMEOUT", "webhook_timeout_ms", kinds.seconds("0.1", 3_600), "30",
             "seconds for one attempt, from connect to the end of the answer"),
    Variable("AQ_MAX_DELIVERIES", "max_deliveries", kinds.whole(1, 10_000), "100",
             "attempts under way at once, per replica"),
    Variable("AQ_ANSWER", "answer", kinds.choice("now", "later"), "now",
             "whether a receiver has done its work when it answers, or may answer 202 and say so"
             " later"),
    Variable("AQ_ANSWER_WITHIN", "answer_within_ms", kinds.seconds("0.1", 900), "120",
             "seconds that a receiver which may answer later has to say that it is done"),
    Variable("AQ_ANSWER_SECRET", "answer_secrets", kinds.DOOR_SECRETS, "",
             "seals the addresses for answers, the same for all replicas; two, separated by a"
             " space, while rotating; unset, one is drawn into Redis", secret=True),
    Variable("AQ_MAX_ACTORS", "max_actors", kinds.whole(1, 10_000_000), "50000",
             "timers set at once in a replica, about 3.5 KB each; where more would be, timers are"
             " set less far ahead, and nobody is late for it"),
    Variable("AQ_WEBHOOK_NETWORKS", "webhook_networks", kinds.choice("any", "public"), "any",
             "where webhooks may go: any address but link-local and metadata ones, or none that is"
             " private either"),
    Variable("AQ_PAYLOAD", "payload", kinds.choice("classic", "detailed"), "classic",
             "the webhook's body: the plain one, or with each message's own fields and times"),
    Variable("AQ_ORDER", "order", kinds.choice("arrival", "sent"), "arrival",
             "the order within a batch: as messages arrived, or those that say it as `sent_at` has"
             " it"),
    Variable("AQ_SHARDS", "shards", kinds.whole(1, 16_384), "64",
             "fixed when the namespace is first used"),
    Variable("AQ_LEASE_TTL", "lease_ttl_ms", kinds.seconds(1, 600), "5",
             "seconds after which a dead replica's users are taken over"),
    Variable("AQ_NAMESPACE", "namespace", kinds.NAMESPACE, "aq",
             "prefix of every key in Redis"),
    Variable("AQ_DURABILITY", "durability", kinds.choice("memory", "fsync", "replica"), "memory",
             "what a 202 waits for: Redis has it, it is on disk, or one replica has it"),
    Variable("AQ_API_KEYS", "api_keys", kinds.API_KEYS, "",
             "who may call: scope:key,… with the scopes ingest, read and admin; scope:key:name says"
             " who did something in what is recorded of it; scope@route:key reaches one route",
             secret=True),
    Variable("AQ_ALLOW_ANONYMOUS", "allow_anonymous", kinds.BOOLEAN, "false",
             "without keys, listen on more than loopback all the same"),
    Variable("AQ_KEY_FOR_METRICS", "key_for_metrics", kinds.BOOLEAN, "false",
             "/metrics and /openapi.json need a key with the scope read, too"),
    Variable("AQ_ALLOW_EVICTION", "allow_eviction", kinds.BOOLEAN, "false",
             "accept a Redis that may evict keys, and with them messages"),
    Variable("AQ_DATA_DIR", "data_dir", kinds.PATH, "./data",
             "the embedded server's files"),
    Variable("AQ_ROOT_PATH", "root_path", kinds.ROOT_PATH, "",
             "prefix of every path behind a proxy, for example /redis-api"),
    Variable("AQ_PUBLIC_URL", "public_url", kinds.PUBLIC_URL, "",
             "where others, and receivers that answer later, reach this service, for example https://queue.example/redis-api"),
    Variable("AQ_CORS_ORIGINS", "cors_origins", kinds.ORIGINS, "",
             "the web pages that may send messages: https://chat.example,… or * for any"),
    Variable("AQ_DOOR_EVOLUTION_SECRET", "door_evolution_secrets", kinds.DOOR_SECRETS, "",
             "the jwt_key of Evolution's webhooks; a key of AQ_API_KEYS opens /in/evolution too",
             secret=True),
    Variable("AQ_DOOR_WAHA_SECRET", "door_waha_secrets", kinds.DOOR_SECRETS, "",
             "the key with which WAHA signs what it sends to /in/waha; as for every door, two,"
             " separated by a space, while rotating", secret=True),
    Variable("AQ_DOOR_CLOUD_SECRET", "door_cloud_secrets", kinds.DOOR_SECRETS, "",
             "the app secret with which Meta signs what it sends to /in/cloud", secret=True),
    Variable("AQ_DOOR_CLOUD_VERIFY_TOKEN", "door_cloud_verify_token", kinds.DOOR_TOKEN, "",
             "the token that Meta asks for where /in/cloud is entered; unset, it is a key with the"
             " scope ingest", secret=True),
    Variable("AQ_DOOR_CHATWOOT_SECRET", "door_chatwoot_secrets", kinds.DOOR_SECRETS, "",
             "the secret with which Chatwoot signs what it sends to /in/chatwoot", secret=True),
    Variable("AQ_DOOR_TELEGRAM_SECRET", "door_telegram_secrets", kinds.DOOR_SECRETS, "",
             "the secret_token of Telegram's setWebhook for /in/telegram", secret=True),
    Variable("AQ_LOG", "log", kinds.choice("text", "json"), "text",
             "the form of the log on standard error: one line an event, as text or as JSON"),
    Variable("AQ_LOG_LEVEL", "log_level", kinds.choice("debug", "info", "warning", "error"), "info",
             "the least important level that is logged"),
    Variable("AQ_LOG_USERS", "log_users", kinds.BOOLEAN, "false",
             "name users in the log; otherwise each appears as a short hash that stays the same"),
)
# fmt: on

BY_NAME: Mapping[str, Variable] = {variable.name: variable for variable in VARIABLES}

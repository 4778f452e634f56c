"""OpenTelemetry, from the extra `otel`: a span for each attempt, linked to its messages' traces.

Where the usual variables name no collector (OTEL_EXPORTER_OTLP_ENDPOINT), nothing is imported and
nothing is wrapped. A message says its trace in its field `traceparent`; a batch has as many parents
as messages, so they are links, and the attempt is the root of a trace of its own. The webhook
carries that one in its header `traceparent`. No text, no user and no message id is in a span.

Spans are sent by a thread of the SDK; a collector that is away delays nothing, and what it does not
take in time is dropped.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from actor_queue.app.deliver import Receiver
from actor_queue.core.batch import Batch
from actor_queue.core.delivery import loggable
from actor_queue.core.outcome import Delivered, Outcome
from actor_queue.core.routes import RouteTable
from actor_queue.core.traceparent import trace_of
from actor_queue.runtime.lines import tell
from actor_queue.webhook.receivers import Receivers

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Link

COLLECTOR: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
LINKS_MAX: Final = 128
"""Of one span, as the SDK keeps them."""
FLUSH_S: Final = 2.0
"""For what was not sent yet, when the service ends."""


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether somebody has said where traces go."""
    disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    named = any(environ.get(name, "").strip() for name in COLLECTOR)
    return named and not disabled and exporter == "otlp"


@asynccontextmanager
async def receiver_of(
    routes: RouteTable, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Receiver]:
    """The clients of all routes, with traces where they are wanted and the extra is installed."""
    provider = _provider() if wanted(environ) else None
    async with Receivers(routes, besides=_propagated if provider else None) as receivers:
        if provider is None:
            yield receivers
            return
        try:
            yield TracedClient(receivers, provider)
        finally:
            with trio.move_on_after(FLUSH_S, shield=True):
                await trio.to_thread.run_sync(provider.shutdown, abandon_on_cancel=True)


class TracedClient:
    """`WebhookClient.deliver`, each in a span."""

    def __init__(self, client: Receiver, provider: TracerProvider) -> None:
        self._client = client
        self._tracer = provider.get_tracer("actor_queue")

    async def deliver(self, batch: Batch, deadline_s: float) -> Outcome:
        """See `WebhookClient.deliver`."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind, Status, StatusCode

        with self._tracer.start_as_current_span(
            "actor_queue attempt",
            context=Context(),  # a root: whatever task wakes the actor has nothing to do with it
            kind=SpanKind.CLIENT,
            links=list(_links(batch)),
            attributes={
                "messaging.system": "actor_queue",
                "messaging.message.id": batch.id,
                "messaging.batch.message_count": len(batch.stored),
                "actor_queue.batch.seq": batch.seq,
                "actor_queue.batch.reason": batch.reason,
            },
            record_exception=False,  # its text may quote a message
        ) as span:
            outcome = await self._client.deliver(batch, deadline_s)
            if outcome.status is not None:
                span.set_attribute("http.response.status_code", outcome.status)
            if not isinstance(outcome, Delivered):
                span.set_status(Status(StatusCode.ERROR, loggable(outcome.reason)))
            return outcome


def _links(batch: Batch) -> Iterator[Link]:
    """To each trace once, the first `LINKS_MAX`."""
    from opentelemetry.trace import Link, SpanContext, TraceFlags

    try:
        traces = [trace_of(item.original.get("traceparent")) for item in batch.items]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return  # a message that cannot be read; the client says so
    for trace in list(dict.fromkeys(filter(None, traces)))[:LINKS_MAX]:
        flags = TraceFlags(trace.flags)
        yield Link(SpanContext(trace.trace_id, trace.span_id, is_remote=True, trace_flags=flags))


def _propagated() -> Sequence[tuple[bytes, bytes]]:
    """The headers that name the span in which this is called."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return [(name.encode(), value.encode()) for name, value in carrier.items()]


def _provider() -> TracerProvider | None:
    """None, and a line in the log, where the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        tell("traces_not_sent", reason="install the package with its extra otel")
        return None
    named = {SERVICE_NAME: "actor-queue"} if "OTEL_SERVICE_NAME" not in os.environ else {}
    # Nothing at exit: the service flushes when it ends, within a limit of its own.
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider

"""Where a collector is named, each attempt is a span that is linked to its messages' traces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from actor_queue.app.tracing import wanted
from tests.acceptance.receiver import OK, reply
from tests.acceptance.service import world
from tests.acceptance.waiting import wait_until
from tests.core.test_traceparent import SPAN, TRACE

OTHER_TRACE = "a" * 32


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_go_where_the_usual_variables_say_and_nowhere_else(
    environ: dict[str, str], expected: bool
) -> None:
    assert wanted(environ) is expected


class Collector:
    """Takes what is exported over OTLP."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def spans(self) -> list[Any]:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        requests = [ExportTraceServiceRequest.FromString(body) for body in list(self.bodies)]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


@pytest.mark.process
def test_each_attempt_is_a_span_linked_to_its_messages_and_known_to_the_receiver() -> None:
    pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    with (
        collecting() as collector,
        world(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100") as running,
    ):
        running.receiver.script("joao", reply(503), OK)
        for number, trace in enumerate((TRACE, OTHER_TRACE, TRACE, "nonsense")):
            parent = f"00-{trace}-{SPAN}-01"
            running.client.post("joao", f"segredo {number}", ttl=1, traceparent=parent)
        wait_until(lambda: len(collector.spans) == 2, "two spans")
        failed, delivered = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
        for span, attempt in zip((failed, delivered), running.receiver.attempts, strict=True):
            assert [link.trace_id.hex() for link in span.links] == [TRACE, OTHER_TRACE]
            assert {link.span_id.hex() for link in span.links} == {SPAN}
            named = f"00-{span.trace_id.hex()}-{span.span_id.hex()}-"
            assert attempt.headers["traceparent"].startswith(named)
            facts = {each.key: each.value for each in span.attributes}
            assert facts["messaging.message.id"].string_value == attempt.webhook_id
            assert facts["messaging.batch.message_count"].int_value == 4
            assert facts["http.response.status_code"].int_value == attempt.status
        assert failed.trace_id != delivered.trace_id
        assert (failed.status.message, delivered.status.message) == ("answered 503", "")
        assert not any(b"segredo" in body or b"joao" in body for body in collector.bodies)


@pytest.mark.process
def test_a_collector_that_is_away_delays_neither_a_batch_nor_the_end() -> None:
    pytest.importorskip("opentelemetry.sdk.trace", reason="the extra otel is not installed")
    with world(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9") as running:
        running.client.post("joao", "oi", ttl=0)
        running.settle()
        assert running.service.stop() == 0

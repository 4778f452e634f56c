"""The Quart-Trio application: everything but the hot paths and the event stream.

Owns what all its views share: keys, sizes, and what an error looks like.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

import trio
from quart import Blueprint, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from actor_queue.core.admission import Refused
from actor_queue.core.settings import Settings
from actor_queue.http import (
    dead_api,
    history_api,
    many_api,
    messages_api,
    pages_api,
    receivers_api,
    session_api,
    users_api,
)
from actor_queue.http.auth import Keys, Scope
from actor_queue.http.backend import Backend, Examine, SendTest
from actor_queue.http.faults import FaultLog
from actor_queue.http.many_api import allowed
from actor_queue.http.metrics import CONTENT_TYPE, families, render
from actor_queue.http.numbers import Census, CensusFailed, Report, merged
from actor_queue.http.openapi import document
from actor_queue.http.problem import (
    INTERNAL,
    Problem,
    method_not_allowed,
    not_found,
    problem_of,
    unavailable,
)
from actor_queue.http.query import query_refusal
from actor_queue.http.routing import (
    ALL_ROUTES,
    BODY_BYTES_MAX,
    NEEDS,
    TAKES,
    BatchId,
    answer,
    needs,
    problem_answer,
    raw_answer,
    requests_with,
    sent_key,
)
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

BODY_TIMEOUT_S: Final = 10
UNROUTED: Final = "other"

ONE_ROUTE: Final = Problem(
    403,
    "this key reaches one route, and this is about all of them: use a key without @",
    title="Another route",
)

_DETAILS: Final = {
    408: "the body came too slowly",
}


def build(
    backend: Backend,
    keys: Keys,
    traffic: Traffic,
    faults: FaultLog,
    census: Census | None = None,
    *,
    description: bytes | None = None,
    examine: Examine | None = None,
    send_test: SendTest | None = None,
    playground: bool = False,
) -> QuartTrio:
    """The application, ready to be called. Imports and builds for about half a second.

    `description`: what `/openapi.json` is, if it was made already. `playground`: whether `/` is
    the page that writes messages (`pages_api`).
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_BYTES_MAX,
        BODY_TIMEOUT=BODY_TIMEOUT_S,
        RESPONSE_TIMEOUT=None,
        PROVIDE_AUTOMATIC_OPTIONS=False,  # what a path answers is told by a 405, everywhere alike
    )
    app.request_class = requests_with(backend.settings.max_body_bytes)
    app.url_map.merge_slashes = False
    app.url_map.converters["batch"] = BatchId
    for blueprint in (
        users_api.routes(backend),
        users_api.shards(backend),
        messages_api.routes(backend),
        dead_api.routes(backend),
        many_api.users(backend),
        many_api.dead(backend),
        history_api.routes(backend),
        receivers_api.routes(backend, send_test),
        pages_api.routes(playground=playground),
        session_api.routes(backend.settings, keys, traffic),
        _about(backend, traffic, census, description or description_of(backend.settings)),
        _doctor(examine),
    ):
        app.register_blueprint(blueprint)
    _guard(app, keys, traffic)
    _explain(app, traffic, faults)
    return app


def guarded(app: QuartTrio) -> Mapping[tuple[str, bytes], Scope]:
    """The scope that each method of each path needs, where the path has no part that varies."""
    return {
        (method, rule.rule.encode()): scope
        for rule in app.url_map.iter_rules()
        if not rule.arguments
        for method in rule.methods or ()
        if (scope := getattr(app.view_functions[rule.endpoint], NEEDS)) is not None
    }


def description_of(settings: Settings) -> bytes:
    """What `/openapi.json` is, in a service with these settings."""
    return json.dumps(document(settings)).encode()


async def _as_text(report: Callable[[], Report]) -> Response:
    """With a thousand routes there are twenty thousand lines: no timer waits for them."""
    text = await trio.to_thread.run_sync(lambda: render(report()))
    return Response(text, content_type=CONTENT_TYPE)


def _about(
    backend: Backend, traffic: Traffic, census: Census | None, description: bytes
) -> Blueprint:
    about = Blueprint("about", __name__)
    scope: Scope | None = "read" if backend.settings.key_for_metrics else None

    @about.get("/metrics")
    @needs(scope, all_routes=True)
    async def metrics() -> Response:
        if census is None:
            report = families(backend, traffic)
            return await _as_text(lambda: report)
        try:
            count = await census()
        except CensusFailed as error:
            # The numbers of one worker alone would look as if all had begun anew.
            return problem_answer(unavailable(str(error)))
        return await _as_text(lambda: merged(count))

    @about.get("/openapi.json")
    @needs(scope)
    async def openapi() -> Response:
        return raw_answer(description)

    return about


def _doctor(examine: Examine | None) -> Blueprint:
    doctor = Blueprint("doctor", __name__)

    @doctor.get("/api/doctor")
    @needs("read", all_routes=True)
    async def findings() -> Response:
        if examine is None:
            return problem_answer(unavailable("this process has no doctor"))
        return answer(await examine())

    return doctor


def _guard(app: QuartTrio, keys: Keys, traffic: Traffic) -> None:
    @app.before_request
    async def authorise() -> Response | None:
        if request.endpoint is None:
            return None  # no such path or method: there is nothing to protect
        if request.method not in allowed([request.method]):
            return problem_answer(method_not_allowed("DELETE, GET, HEAD"))
        view = app.view_functions[request.endpoint]
        scope = cast(Scope | None, getattr(view, NEEDS))
        refusal = None
        if scope is not None:
            found = keys.judge(sent_key(), scope, request.scope)
            if isinstance(found, Problem):
                refusal = found
            elif found is not None:
                g.caller, g.key = found, found.entry_for(scope)
                if getattr(view, ALL_ROUTES) and g.key.route is not None:
                    refusal = ONE_ROUTE
        parameters = cast(Collection[str] | None, getattr(view, TAKES))
        if refusal is None and parameters is not None:
            refusal = query_refusal(request.query_string, parameters)
        return None if refusal is None else problem_answer(refusal)

    @app.after_request
    async def count(response: Response) -> Response:
        route = UNROUTED if request.url_rule is None else request.url_rule.rule
        traffic.answers[route, response.status_code] += 1
        return response


def _explain(app: QuartTrio, traffic: Traffic, faults: FaultLog) -> None:
    """Every error is a problem, and none tells more than it should."""

    @app.errorhandler(Refused)
    async def refused(error: Refused) -> Response:
        return problem_answer(problem_of(error))

    @app.errorhandler(StoreUnavailable)
    async def away(error: StoreUnavailable) -> Response:
        return problem_answer(unavailable(error.detail))

    @app.errorhandler(HTTPException)
    async def http_error(error: HTTPException) -> Response:
        status = error.code or 500
        if status == 404:
            return problem_answer(not_found())
        if isinstance(error, MethodNotAllowed):
            return problem_answer(
                method_not_allowed(", ".join(sorted(allowed(error.valid_methods or ()))))
            )
        if status >= 500:
            return problem_answer(INTERNAL)
        if status == 413:
            most = getattr(request, "body_bytes_max", BODY_BYTES_MAX)
            return problem_answer(Problem(status, f"the body may have {most} bytes, no more"))
        return problem_answer(Problem(status, _DETAILS.get(status, error.name)))

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        traffic.requests_failed += 1
        faults.write("request_failed", error)
        return problem_answer(INTERNAL)

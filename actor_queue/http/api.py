"""The Quart-Trio application: everything but the hot paths and the event stream.

Owns what all its views share: keys, sizes, and what an error looks like.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final, cast

from quart import Blueprint, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from actor_queue.core.admission import Refused
from actor_queue.http import dead_api, pages_api, users_api
from actor_queue.http.auth import Keys, Scope
from actor_queue.http.backend import Backend
from actor_queue.http.faults import FaultLog
from actor_queue.http.metrics import CONTENT_TYPE, families, render
from actor_queue.http.numbers import Census, CensusFailed, merged
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
    BODY_BYTES_MAX,
    NEEDS,
    TAKES,
    BatchId,
    needs,
    problem_answer,
    raw_answer,
)
from actor_queue.http.traffic import Traffic
from actor_queue.store.api import StoreUnavailable

BODY_TIMEOUT_S: Final = 10
UNROUTED: Final = "other"

_DETAILS: Final = {
    408: "the body came too slowly",
    413: f"the body may have {BODY_BYTES_MAX} bytes, no more",
}


def build(
    backend: Backend,
    keys: Keys,
    traffic: Traffic,
    faults: FaultLog,
    census: Census | None = None,
) -> QuartTrio:
    """The application, ready to be called. Imports and builds for about half a second."""
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=BODY_BYTES_MAX,
        BODY_TIMEOUT=BODY_TIMEOUT_S,
        RESPONSE_TIMEOUT=None,
        PROVIDE_AUTOMATIC_OPTIONS=False,  # what a path answers is told by a 405, everywhere alike
    )
    app.url_map.merge_slashes = False
    app.url_map.converters["batch"] = BatchId
    for blueprint in (
        users_api.routes(backend),
        dead_api.routes(backend),
        pages_api.routes(),
        _about(backend, traffic, census),
    ):
        app.register_blueprint(blueprint)
    _guard(app, keys, traffic)
    _explain(app, traffic, faults)
    return app


def _about(backend: Backend, traffic: Traffic, census: Census | None) -> Blueprint:
    about = Blueprint("about", __name__)
    description = json.dumps(document(backend.settings)).encode()
    scope: Scope | None = "read" if backend.settings.key_for_metrics else None

    @about.get("/metrics")
    @needs(scope)
    async def metrics() -> Response:
        if census is None:
            return Response(render(families(backend, traffic)), content_type=CONTENT_TYPE)
        try:
            count = await census()
        except CensusFailed as error:
            # The numbers of one worker alone would look as if all had begun anew.
            return problem_answer(unavailable(str(error)))
        return Response(render(merged(count)), content_type=CONTENT_TYPE)

    @about.get("/openapi.json")
    @needs(scope)
    async def openapi() -> Response:
        return raw_answer(description)

    return about


def _guard(app: QuartTrio, keys: Keys, traffic: Traffic) -> None:
    @app.before_request
    async def authorise() -> Response | None:
        if request.endpoint is None:
            return None  # no such path or method: there is nothing to protect
        view = app.view_functions[request.endpoint]
        scope = cast(Scope | None, getattr(view, NEEDS))
        refusal = None
        if scope is not None:
            header = request.headers.get("authorization")
            sent = None if header is None else header.encode("latin-1")
            refusal = keys.refusal(sent, scope, request.scope)
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
            return problem_answer(method_not_allowed(", ".join(sorted(error.valid_methods or ()))))
        if status >= 500:
            return problem_answer(INTERNAL)
        return problem_answer(Problem(status, _DETAILS.get(status, error.name)))

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Response:
        traffic.requests_failed += 1
        faults.write("request_failed", error)
        return problem_answer(INTERNAL)

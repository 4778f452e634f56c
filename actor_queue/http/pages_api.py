"""`/`, `/operate`, `/docs` and `/static/…`: the files that come with the package, and no others.

The operator's view stands on `/operate`, and on `/` too, but in `actor-queue dev`: there `/` is
the playground, which writes messages. In `serve` no page writes to anybody's customers.
"""

from __future__ import annotations

from quart import Blueprint, Response, request

from actor_queue.http.page_files import HEADERS, named_pages, page_files
from actor_queue.http.problem import not_found
from actor_queue.http.routing import needs, problem_answer


def routes(*, playground: bool) -> Blueprint:
    """`playground`: whether `/` is the page that writes messages, for `actor-queue dev`."""
    pages = Blueprint("pages", __name__)
    known = page_files(playground=playground)
    named = named_pages(playground=playground)

    def serve(name: str) -> Response:
        file = known.get(name)
        if file is None:
            return problem_answer(not_found())
        response = Response(file.content, content_type=file.content_type, headers=HEADERS)
        response.set_etag(file.etag)
        if request.if_none_match.contains(file.etag):
            response.status_code = 304
            response.set_data(b"")
        return response

    @pages.get("/")
    @needs(None, None)
    async def index() -> Response:
        return serve(named["/"])

    @pages.get("/operate")
    @needs(None, None)
    async def operate() -> Response:
        return serve(named["/operate"])

    @pages.get("/docs")
    @needs(None, None)
    async def docs() -> Response:
        return serve(named["/docs"])

    @pages.get("/static/<path:name>")
    @needs(None, None)
    async def static(name: str) -> Response:
        return serve(name)

    return pages

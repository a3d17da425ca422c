"""The page's server: each address leads to a view, each request past the guard."""

import asyncio
import html
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from barfeed import __version__
from barfeed.domain.errors import BarfeedError, UsageError
from barfeed.operate.web import api
from barfeed.operate.web.guard import COOKIE, HEADERS, Asking, Guard
from barfeed.operate.web.live import Happening, Live
from barfeed.operate.web.views import runs
from barfeed.operate.web.views.sources import Missing, Sources

STATIC = Path(__file__).parent / "static"

_BAD, _ABSENT, _UNAVAILABLE = 400, 404, 503
_KINDS = {"json": "application/json", "csv": "text/csv; charset=utf-8"}
_KEEP = "public, max-age=31536000, immutable"


class Served(NamedTuple):
    """What the application is made of."""

    sources: Sources
    live: Live
    guard: Guard


def application(served: Served) -> Starlette:
    """The ASGI application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watch = asyncio.create_task(served.live.watch())
        try:
            yield
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

    views = [Route(f"/api/{view.path}", _view(served.sources, view)) for view in api.VIEWS]
    routes = [
        Route("/", _page),
        Route("/static/{name:path}", _static),
        *views,
        Route("/api/", _index),
        Route("/api/openapi.json", _openapi),
        Route("/api/file", _file(served.sources)),
        Route("/api/events", _events(served.live)),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers={_ABSENT: _no_such_page})
    app.add_middleware(Guarded, guard=served.guard)
    return app


class Guarded:
    """Lets in whom the guard lets in, and gives every answer the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._guard.refusal(_asking(request))
        if refusal:
            answer: ASGIApp = PlainTextResponse(f"{refusal.status} {refusal.reason}\n", refusal.status)
        elif self._guard.token and "token" in request.query_params:
            answer = _with_cookie(self._guard.token)
        else:
            answer = self._app
        await answer(scope, receive, _with_headers(send))


def _asking(request: Request) -> Asking:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    token = request.query_params.get("token") or bearer or request.cookies.get(COOKIE, "")
    return Asking(request.method, dict(request.headers), token)


def _with_cookie(token: str) -> Response:
    # Out of the address, which stands in histories and logs.
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", max_age=30 * 86400)
    return answer


def _with_headers(send: Send) -> Send:
    async def sending(message: msgspec.Raw | dict[str, object]) -> None:
        if isinstance(message, dict) and message["type"] == "http.response.start":
            names = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
            message = message | {"headers": [*list(message["headers"]), *names]}  # type: ignore[call-overload]  # raw ASGI
        await send(message)  # type: ignore[arg-type]  # raw ASGI

    return sending  # type: ignore[return-value]  # raw ASGI


Endpoint = Callable[[Request], Awaitable[Response]]


def _view(sources: Sources, view: api.View) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        def answer() -> bytes:
            return msgspec.json.encode(view.ask(sources, api.asked(view, _query(request))))

        return await _answered(answer)

    return endpoint


async def _answered(answer: Callable[[], bytes]) -> Response:
    try:
        return _json(await run_in_threadpool(answer))
    except UsageError as problem:
        return _json(_told(problem), _BAD)
    except Missing as problem:
        return _json(msgspec.json.encode({"error": str(problem), "hint": ""}), _ABSENT)
    except BarfeedError as problem:
        return _json(_told(problem), _UNAVAILABLE)


def _query(request: Request) -> dict[str, str]:
    query = parse_qs(request.url.query, keep_blank_values=True)
    return {name: values[-1] for name, values in query.items() if name != "token"}


def _told(problem: BarfeedError) -> bytes:
    return msgspec.json.encode({"error": str(problem), "hint": problem.hint})


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"Cache-Control": "no-store"}, "application/json")


async def _page(_: Request) -> Response:
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


async def _static(request: Request) -> Response:
    # By name only: nothing leads out of the folder.
    name = request.path_params["name"]
    known = {each.relative_to(STATIC).as_posix(): each for each in STATIC.rglob("*") if each.is_file()}
    if name not in known:
        return PlainTextResponse("404 there is no such file\n", _ABSENT)
    is_current = request.query_params.get("v") == __version__
    return FileResponse(known[name], headers={"Cache-Control": _KEEP if is_current else "no-cache"})


async def _no_such_page(request: Request, _: Exception) -> Response:
    return PlainTextResponse(f"404 there is nothing at {request.url.path[:120]!r}: the page is at /\n", _ABSENT)


async def _openapi(_: Request) -> Response:
    return _json(msgspec.json.encode(api.openapi()))


async def _index(_: Request) -> Response:
    rows = map(_row, api.VIEWS)
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>barfeed: /api/</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="/static/icon.svg">'
        '<link rel="stylesheet" href="/static/app.css"></head><body><main class="plain"><h1>What can be asked</h1>'
        "<p>JSON, the same that the page shows; moments are ms since 1970-01-01 UTC."
        ' <a href="/api/openapi.json">openapi.json</a> has every field.</p>'
        '<div class="scroll" tabindex="0" role="region" aria-label="Every address"><table><thead><tr><th>address</th>'
        f"<th>answer</th><th>query</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div></main></body></html>"
    )
    return Response(body, media_type="text/html; charset=utf-8")


def _row(view: api.View) -> str:
    names = ", ".join(field.name for field in msgspec.structs.fields(view.question))
    cells = (f"<code>/api/{view.path}</code>", html.escape(view.says), f"<code>{names}</code>")
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _file(sources: Sources) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        query = _query(request)
        folder, run, name = (query.get(each, "") for each in ("folder", "run", "file"))
        try:
            content = await run_in_threadpool(runs.content, sources, folder, run, name)
        except (Missing, BarfeedError) as problem:
            return PlainTextResponse(f"404 {problem}\n", _ABSENT)
        kind = _KINDS.get(name.rpartition(".")[2], "application/octet-stream")
        return Response(content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})

    return endpoint


def _events(live: Live) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        first = Happening("hello", run=__version__)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(live.listen(first.event), media_type="text/event-stream", headers=headers)

    return endpoint

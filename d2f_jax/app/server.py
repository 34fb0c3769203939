"""The server of the page: visitors, their sessions, and who is next.

Every request but the first carries the visitor's token in a header, which another site's page
cannot send; nothing is served from a folder but the page's own files.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from d2f_jax.app import examples, form, jobs, strokes, warmth
from d2f_jax.app.session import Session

STATIC = Path(__file__).parent / "static"
TOKEN = "X-Session"

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

_T = TypeVar("_T")

_log = logging.getLogger("d2f_jax.app")


class Rules(NamedTuple):
    """What the one who starts the server decides.

    Attributes:
      photographs: Offered to every visitor.
      depth_model: Depth network that is offered.
      max_upload: Largest file [bytes].
      max_pixels: Of a photograph.
      max_visitors: At a time.
      hosts: Names by which the server may be called; empty for any.
      patience: Seconds without a sign of life after which a session ends.
      warm_up: Whether to compile at the start what previews need.
      farewell: Seconds after a page was left, in which a reload finds its session again.
    """

    photographs: tuple[Path, ...] = ()
    depth_model: str | None = None
    max_upload: int = 100_000_000
    max_pixels: int = 60_000_000
    max_visitors: int = 20
    hosts: tuple[str, ...] = ()
    warm_up: bool = True
    patience: float = 600.0
    farewell: float = 15.0


class Visitor:
    """A session and when it was last heard of."""

    def __init__(self, session: Session, patience: float):
        self.session = session
        self.ends = time.monotonic() + patience
        self.job: jobs.Job | None = None


class Gone(Exception):  # noqa: N818
    """The visitor has no session here."""


class House:
    """All visitors of a server."""

    def __init__(self, rules: Rules):
        self.rules = rules
        self.visitors: dict[str, Visitor] = {}
        self._root = tempfile.TemporaryDirectory(prefix="d2f-page-", ignore_cleanup_errors=True)
        self.gate, self._full_gate = asyncio.Lock(), asyncio.Lock()
        self._pace = jobs.Pace()
        self.cold = len(warmth.PARTS) if rules.warm_up else 0  # parts still to be compiled

    def enter(self) -> str:
        """Makes a session and returns its token."""
        if len(self.visitors) >= self.rules.max_visitors:
            raise ValueError("too many visitors at the moment; try again in a few minutes")
        session = Session(Path(self._root.name), self.rules.depth_model, self.rules.max_pixels)
        token = secrets.token_urlsafe(24)
        self.visitors[token] = Visitor(session, self.rules.patience)
        return token

    def find(self, request: Request) -> Visitor:
        """The visitor of a request."""
        visitor = self.visitors.get(request.headers.get(TOKEN, ""))
        if visitor is None:
            raise Gone
        visitor.ends = time.monotonic() + self.rules.patience
        return visitor

    async def work(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Runs what is heavy in a thread, one visitor after the other."""
        async with self.gate:
            return await anyio.to_thread.run_sync(function, *arguments)

    async def warm_up(self) -> None:
        """Compiles what previews need, a part at a time, with the visitors in between."""
        while self.cold:
            part = warmth.PARTS[-self.cold]
            await self.work(part)
            self.cold -= 1

    def start(self, task: Any) -> jobs.Job:
        """Begins a picture in full size."""
        return jobs.Job(task, self._full_gate, self._pace)

    async def end(self, token: str) -> None:
        """Ends a session."""
        visitor = self.visitors.pop(token, None)
        if visitor is not None:
            if visitor.job is not None:
                await visitor.job.stop()
            async with self.gate:  # nothing of it is in work
                visitor.session.close()

    async def sweep(self) -> None:
        """Ends, for as long as the server runs, the sessions that nobody holds any more."""
        while True:
            await asyncio.sleep(min(5.0, self.rules.farewell / 2))
            now = time.monotonic()
            for token in [t for t, v in self.visitors.items() if v.ends < now]:
                await self.end(token)

    async def close(self) -> None:
        """Ends all sessions and removes their files."""
        for token in list(self.visitors):
            await self.end(token)
        self._root.cleanup()


def build(rules: Rules) -> Starlette:
    """The application, for any ASGI server."""
    house = House(rules)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(work) for work in (house.sweep(), house.warm_up())]
        yield
        for task in tasks:
            task.cancel()
        await house.close()

    async def index(_: Request) -> Response:
        return FileResponse(STATIC / "index.html")

    async def enter(request: Request) -> dict[str, Any]:
        old = request.headers.get(TOKEN)
        if old is None:
            raise Gone
        back = old in house.visitors
        token = old if back else house.enter()
        visitor = house.visitors[token]
        visitor.ends = time.monotonic() + rules.patience
        known: dict[str, Any] = {
            "token": token,
            "examples": [path.name for path in rules.photographs],
            "has_model": rules.depth_model is not None,
            "max_upload": rules.max_upload,
            "opened": None,
        }
        if back and visitor.session.name:
            known["opened"] = _told(await house.work(visitor.session.opened))
        return known

    async def alive(request: Request) -> dict[str, Any]:
        house.find(request)
        return {"cold": house.cold}

    async def leave(request: Request) -> dict[str, Any]:
        token = (await _body(request, 1000)).decode(errors="replace")  # a beacon has no headers
        if visitor := house.visitors.get(token):
            visitor.ends = min(visitor.ends, time.monotonic() + rules.farewell)
        return {}

    async def photo(request: Request) -> dict[str, Any]:
        visitor = house.find(request)
        data = await _body(request, rules.max_upload)
        return await opened(visitor, _name(request), data)

    async def example(request: Request) -> dict[str, Any]:
        visitor, name = house.find(request), _name(request)
        path = next((p for p in rules.photographs if p.name == name), None)
        if path is None:
            raise ValueError("no such example")
        shown = str(path) if path.parent != examples.FOLDER else None
        return await opened(visitor, name, path.read_bytes(), shown)

    async def opened(visitor: Visitor, name: str, data: bytes, shown: str | None = None) -> dict:
        if visitor.job is not None:
            await visitor.job.stop()
            visitor.job = None
        told = await house.work(visitor.session.open, name, data, shown)
        return _told(told)

    async def thumbnail(request: Request) -> Response:
        name = request.path_params["name"]
        path = next((p for p in rules.photographs if p.name == name), None)
        if path is None:
            return Response(status_code=404)
        data = await anyio.to_thread.run_sync(examples.thumbnail, path)
        return Response(data, media_type="image/jpeg")

    async def put(request: Request) -> dict[str, Any]:
        visitor, kind = house.find(request), request.query_params.get("kind", "")
        if kind not in ("map", "shape"):
            raise ValueError("kind is map or shape")
        data = await _body(request, rules.max_upload)
        return {"name": await house.work(visitor.session.put, kind, _name(request), data)}

    async def paint(request: Request) -> dict[str, Any]:
        visitor = house.find(request)
        painted = strokes.read(await _json(request, 4_000_000))
        await house.work(visitor.session.paint, painted)
        return {}

    async def develop(request: Request) -> dict[str, Any]:
        visitor = house.find(request)
        wanted = form.read(await _json(request, 10_000))
        seen = await house.work(visitor.session.preview, wanted)
        told = seen._asdict() | {"picture": examples.as_address(seen.picture)}
        return told | {"cold": house.cold}

    async def begin(request: Request) -> dict[str, Any]:
        visitor = house.find(request)
        wanted = form.read(await _json(request, 10_000))
        if visitor.job is not None:
            await visitor.job.stop()
        visitor.job = house.start(await house.work(visitor.session.task, wanted))
        return visitor.job.report()

    async def progress(request: Request) -> dict[str, Any]:
        job = house.find(request).job
        return {"state": "none"} if job is None else job.report()

    async def stop(request: Request) -> dict[str, Any]:
        job = house.find(request).job
        if job is not None:
            await job.stop()
        return {"state": "none"} if job is None else job.report()

    async def result(request: Request) -> Response:
        job = house.find(request).job
        if job is None or job.state != "done":
            raise ValueError("there is no finished picture")
        return FileResponse(job.task.folder / job.task.target, filename=job.task.target)

    async def made(request: Request) -> Response:
        visitor = house.find(request)
        wanted = form.read(await _json(request, 10_000))
        await house.work(visitor.session.write_files, wanted)
        path = visitor.session.file(_name(request))
        return FileResponse(path, filename=path.name)

    routes = [
        Route("/", index),
        Route("/session", _answered(enter), methods=["POST"]),
        Route("/alive", _answered(alive), methods=["POST"]),
        Route("/leave", _answered(leave), methods=["POST"]),
        Route("/photo", _answered(photo), methods=["PUT"]),
        Route("/example", _answered(example), methods=["POST"]),
        Route("/thumbnail/{name}", thumbnail),
        Route("/file", _answered(put), methods=["PUT"]),
        Route("/strokes", _answered(paint), methods=["POST"]),
        Route("/develop", _answered(develop), methods=["POST"]),
        Route("/full", _answered(begin), methods=["POST"]),
        Route("/full", _answered(progress), methods=["GET"]),
        Route("/full", _answered(stop), methods=["DELETE"]),
        Route("/result", _answered(result), methods=["GET"]),
        Route("/made", _answered(made), methods=["POST"]),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    hosts = [Middleware(TrustedHostMiddleware, allowed_hosts=list(rules.hosts))]
    app = Starlette(routes=routes, lifespan=lifespan, middleware=hosts if rules.hosts else [])
    app.add_middleware(_Headers)
    app.state.house = house
    return app


class _Headers:
    """Adds the headers that every answer has."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def _answered(
    endpoint: Callable[[Request], Awaitable[Any]],
) -> Callable[[Request], Awaitable[Response]]:
    """Makes answers of what an endpoint returns, and messages of what it refuses."""

    async def answer(request: Request) -> Response:
        try:
            result = await endpoint(request)
        except ValueError as error:
            return JSONResponse({"error": " ".join(str(error).split())}, 400)
        except Gone:
            return JSONResponse({"error": "the session has ended; open the photograph again"}, 410)
        except Exception:
            _log.exception("%s %s", request.method, request.url.path)
            return JSONResponse(
                {"error": "something went wrong here; the server's log says what"}, 500
            )
        return result if isinstance(result, Response) else JSONResponse(result)

    return answer


async def _body(request: Request, most: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise ValueError(f"the file is larger than the {most / 1e6:.0f} MB allowed here")
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request, most: int) -> Any:
    return json.loads(await _body(request, most))


def _name(request: Request) -> str:
    return request.query_params.get("name", "")


def _told(opened: Any) -> dict[str, Any]:
    return opened._asdict() | {"picture": examples.as_address(opened.picture)}

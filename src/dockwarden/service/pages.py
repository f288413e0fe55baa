"""The page shell of both sides: templates, words, headers, errors, and the server that shows them on loopback."""

import socket
import threading
import time
from dataclasses import dataclass
from datetime import timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Scope

from dockwarden.service import shown
from dockwarden.service.errors import ServiceError
from dockwarden.service.guard import LOOPBACK_HOSTS, Guard
from dockwarden.service.logs import log
from dockwarden.service.words import LANGUAGES, Catalogues, Words, choose_language, load_catalogues

_OWN = Path(__file__).parent
_COOKIE = "dockwarden_lang"
_YEAR_S = 365 * 86400


@dataclass(frozen=True)
class Pages:
    """Renders one side's templates in the visitor's language."""

    environment: jinja2.Environment
    catalogues: Catalogues
    zone: timezone

    def words(self, request: Request) -> Words:
        """The words for this visitor (see `choose_language`)."""
        language = choose_language(
            request.query_params.get("lang"),
            request.cookies.get(_COOKIE),
            request.headers.get("accept-language", ""),
        )
        return Words(language, self.catalogues[language])

    def fragment(self, request: Request, template: str, **values: Any) -> str:
        """A template's text, without a response around it."""
        words = self.words(request)
        return self.environment.get_template(template).render(
            t=words,
            duration=words.duration,
            moment=lambda value: shown.moment(value, self.zone),
            zone=shown.zone_name(self.zone),
            switches=[(language, _switch(request, language)) for language in LANGUAGES],
            path=request.url.path,
            **values,
        )

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A whole page; a language that was asked for by ``?lang=`` is remembered in a cookie."""
        response = HTMLResponse(self.fragment(request, template, **values), status)
        asked = request.query_params.get("lang")
        if asked in LANGUAGES:
            response.set_cookie(_COOKIE, asked, max_age=_YEAR_S, httponly=True, samesite="strict")
        return response

    def error(self, request: Request, status: int, code: str) -> Response:
        """The friendly page for ``code`` (its words where the catalogue has them), or JSON for a ``.json`` path."""
        words = self.words(request)
        known = code if words.known(f"error.{code}.title") else "other"
        if request.url.path.endswith(".json"):
            told = ServiceError(code, words(f"error.{known}.title"), "the page's address", words(f"error.{known}.do"))
            return JSONResponse({"error": told.to_object()}, status)
        return self.page(request, "error.html", status, code=code, known=known)


def new_app(side: Path, zone: timezone = shown.BEIJING) -> tuple[FastAPI, Pages]:
    """An application with the shell around it, for the package folder ``side`` (templates, static, locales).

    Served at ``/static`` (the side's files) and ``/shared`` (the shell's). Only loopback host names are
    answered, so that a foreign page cannot reach it by a name of its own (DNS rebinding).
    """
    pages = Pages(_environment(side), load_catalogues([_OWN / "locales", side / "locales"]), zone)

    async def broken(request: Request) -> Response:
        return pages.error(request, 500, "internal")

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        if isinstance(error, RequestValidationError) and any(fault["loc"][0] == "path" for fault in error.errors()):
            status = 404  # an address that cannot be is one that is not
        return pages.error(request, status, {404: "not-found", 405: "not-found"}.get(status, "bad-request"))

    async def service_error(request: Request, error: Exception) -> Response:
        log("pages").warning("a page could not be shown", exc_info=error)
        return pages.error(request, 503, error.code if isinstance(error, ServiceError) else "internal")

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, http_error)
    app.add_exception_handler(ServiceError, service_error)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_HOSTS, www_redirect=False)
    app.add_middleware(Guard, broken=broken)  # added last: the outermost
    app.mount("/static", _Static(directory=side / "static"))
    app.mount("/shared", _Static(directory=_OWN / "static"))
    return app, pages


class _Static(StaticFiles):
    """Files of the package; they hold nothing of anybody, so a browser may keep them if it asks again."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response


def _environment(side: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([side / "templates", _OWN / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown.finish,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=shown.size, rate=shown.rate, count_of=shown.count, name_of=shown.name_of, visible=shown.visible
    )
    return environment


def _switch(request: Request, language: str) -> str:
    others = [(key, value) for key, value in request.query_params.multi_items() if key != "lang"]
    return f"{request.url.path}?{urlencode([*others, ('lang', language)])}"


class Server:
    """A running page server. `close` (or leaving the ``with`` block) ends it and its thread."""

    def __init__(self, server: uvicorn.Server, thread: threading.Thread, url: str) -> None:
        self.url = url
        self._server = server
        self._thread = thread

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; transfers still running are cut after two seconds."""
        self._server.should_exit = True
        self._thread.join()


def serve_http(app: ASGIApp, host: str, port: int) -> Server:
    """Serve ``app`` in a thread; ``port`` 0 takes a free one (see ``Server.url``).

    Any host but loopback is refused (`ServiceError`, ``not-loopback``): these pages have neither TLS nor
    sign-in yet. A taken port gives ``port-taken``.
    """
    family, address, shown_host = _loopback(host)
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else "no such port"
        raise ServiceError(
            "port-taken", f"cannot listen: {reason}", f"{host}:{port}", "Choose another port, or stop what uses it."
        ) from None
    bound = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=200,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), name=f"pages {bound}", daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    if not server.started:
        listener.close()
        raise ServiceError("no-pages", "the page server did not start", f"{host}:{bound}", "See the service's log.")
    return Server(server, thread, f"http://{shown_host}:{bound}")


def _loopback(host: str) -> tuple[socket.AddressFamily, str, str]:
    """Address family, address to listen on, and host as a URL writes it."""
    if host in {"127.0.0.1", "localhost"}:
        return socket.AF_INET, "127.0.0.1", "127.0.0.1"
    if host == "::1":
        return socket.AF_INET6, "::1", "[::1]"
    raise ServiceError(
        "not-loopback",
        "pages are served on this machine only: they have no TLS and no sign-in yet",
        host,
        "Use 127.0.0.1, and an SSH tunnel to look from elsewhere.",
    )

"""What every page of ours is wrapped in: safe headers, and a calm answer when something breaks."""

from collections.abc import Awaitable, Callable

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dockwarden.service.logs import log

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), serial=()",
    # Pages and footage of people do not belong in a browser's disk cache.
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware: adds `HEADERS` where a response has not set them, and turns an exception into ``broken``."""

    def __init__(self, app: ASGIApp, broken: Callable[[Request], Awaitable[Response]]) -> None:
        self.app = app
        self.broken = broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, send_guarded)
        except Exception as error:
            # Never the path: it is the route's own business what an address may hold.
            log("pages").error("a page failed", exc_info=error)
            if started:
                raise  # the client must see a broken transfer, not a shorter file
            response = await self.broken(Request(scope, receive))
            await response(scope, receive, send_guarded)

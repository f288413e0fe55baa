"""The centre's pages as one application."""

from datetime import timezone
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from dockwarden.centre.web import record, records, stations
from dockwarden.centre.web.view import OfficeView
from dockwarden.service.pages import new_app
from dockwarden.service.shown import BEIJING


def web_app(office: OfficeView, *, zone: timezone = BEIJING) -> FastAPI:
    """The pages over ``office``; times are shown in ``zone``. Read-only, and for loopback until there is sign-in."""
    app, pages = new_app(Path(__file__).parent, zone)
    for page in (stations, records, record):
        page.add(app, pages, office)

    @app.get("/")
    def start() -> RedirectResponse:
        return RedirectResponse("/stations", 303)

    return app

"""The station's page as an application: ``/`` for people, ``/bays.json`` for the page itself and for bay lights."""

from collections.abc import Callable
from datetime import timezone
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from dockwarden.agent.panel.tiles import Tile, summary, tiles
from dockwarden.service.pages import Pages, new_app
from dockwarden.service.shown import BEIJING
from dockwarden.service.words import Words


def panel_app(status: Callable[[], dict[str, Any]], *, zone: timezone = BEIJING) -> FastAPI:
    """The bay page over ``status`` (the agent's status JSON, design.md §9).

    ``status`` is called in worker threads, once a second for each page that is looked at; a `ServiceError`
    from it is shown as a calm page. Times are shown in ``zone``.
    """
    app, pages = new_app(Path(__file__).parent, zone)

    @app.get("/")
    def bays(request: Request) -> HTMLResponse:
        return pages.page(request, "bays.html", **_view(status(), pages.words(request)))

    @app.get("/bays.json")
    def bays_json(request: Request) -> dict[str, Any]:
        return _fragment(pages, request, status())

    return app


def _view(status: dict[str, Any], words: Words) -> dict[str, Any]:
    shown = tiles(status)
    station = status.get("station")
    return {
        "station": station if isinstance(station, str) else "",
        "at": status.get("at"),
        "tiles": shown,
        "advice": {tile.bay: advice(tile, words) for tile in shown},
        "summary": summary(status),
        "shape": "few" if len(shown) <= 4 else "six" if len(shown) <= 6 else "some" if len(shown) <= 9 else "many",
    }


def _fragment(pages: Pages, request: Request, status: dict[str, Any]) -> dict[str, Any]:
    """``{html, spoken: {bay: words}, bays: [{bay, state}]}``."""
    words = pages.words(request)
    view = _view(status, words)
    shown: tuple[Tile, ...] = view["tiles"]
    return {
        "html": pages.fragment(request, "tiles.html", **view),
        "spoken": {
            tile.bay: words("bay.spoken", bay=tile.bay, state=words(f"bay.state.{tile.state}")) for tile in shown
        },
        "bays": [{"bay": tile.bay, "state": tile.state} for tile in shown],
    }


def advice(tile: Tile, words: Words) -> str:
    """The sentence of a bay: what a person does now (design.md §5.5 for the amber one)."""
    if tile.state == "incomplete" and tile.lacking:
        n, m = tile.lacking
        return words("bay.advice.lacking", n=n, m=m)
    if tile.state == "incomplete" and tile.pulled_out:
        return words("bay.advice.pulled-out")
    return words(f"bay.advice.{tile.state}")

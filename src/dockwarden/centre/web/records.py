"""The table of records: what was taken, whose it is, how its deadline stands, where its copies are."""

from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse

from dockwarden.centre.web.needs import needs
from dockwarden.centre.web.view import PLACES, RECORD, STATION, OfficeView, row
from dockwarden.service.pages import Pages

PAGE = 50

Station = Annotated[str | None, Query(pattern=rf"^{STATION.pattern}$")]
Before = Annotated[str | None, Query(pattern=rf"^{RECORD.pattern}$")]


def add(app: FastAPI, pages: Pages, office: OfficeView) -> None:
    """Add ``/records``: newest first, `PAGE` at a time; ``?station=`` narrows, ``?before=`` turns the page."""

    @app.get("/records")
    def records(request: Request, station: Station = None, before: Before = None) -> HTMLResponse:
        found = [row(record) for record in office.records(station, PAGE + 1, before)]
        known = {str(each.get("station", "")): each for each in office.stations()}
        return pages.page(
            request,
            "records.html",
            rows=found[:PAGE],
            more=found[PAGE - 1].record if len(found) > PAGE else None,
            station=station,
            stations=sorted(known),
            needs=needs(known[station]) if station in known else (),
            first=before is None,
            places=PLACES,
            here="records",
        )

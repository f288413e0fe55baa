"""The page of all stations: who is there, since when not, and what each one last said."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from dockwarden.centre.web.needs import Need, needs
from dockwarden.centre.web.view import OfficeView, part_of, text_of
from dockwarden.service.pages import Pages

STATES = ("online", "offline")
BAY_STATES = ("empty", "waiting", "reading", "confirming", "safe", "copied", "incomplete", "releasing", "refused")


@dataclass(frozen=True)
class Card:
    """One station; figures are None where its status does not tell, ``known`` is false where there is no status."""

    station: str
    state: str
    since: Any
    as_of: Any
    known: bool
    bays: tuple[tuple[str, str], ...]
    figures: Mapping[str, Any]
    free: Any
    total: Any
    ledger: Any
    head: Mapping[str, Any]
    needs: tuple[Need, ...]

    @property
    def stale(self) -> bool:
        """What is shown is what was last known, not what is."""
        return self.state != "online"


def add(app: FastAPI, pages: Pages, office: OfficeView) -> None:
    """Add ``/stations`` and the JSON that keeps it fresh."""

    @app.get("/stations")
    def stations(request: Request) -> HTMLResponse:
        return pages.page(request, "stations.html", cards=_cards(office), here="stations")

    @app.get("/stations.json")
    def stations_json(request: Request) -> dict[str, Any]:
        cards = _cards(office)
        words = pages.words(request)
        return {
            "html": pages.fragment(request, "cards.html", cards=cards),
            "spoken": {
                card.station: words(
                    "station.spoken", station=card.station, state=words(f"station.{card.state}"), n=len(card.needs)
                )
                for card in cards
            },
        }


def _cards(office: OfficeView) -> list[Card]:
    return [card(station) for station in office.stations()]


def card(station: Mapping[str, Any]) -> Card:
    """Read a station's JSON leniently."""
    status = part_of(station, "status")
    disk = part_of(status, "disk")
    bays = status.get("bays")
    state = text_of(station, "state")
    return Card(
        station=text_of(station, "station"),
        state=state if state in STATES else "unknown",
        since=station.get("since"),
        as_of=station.get("as_of"),
        known=bool(status),
        bays=tuple(_bay(bay) for bay in bays if isinstance(bay, Mapping)) if isinstance(bays, list) else (),
        figures=part_of(status, "records"),
        free=disk.get("free"),
        total=disk.get("total"),
        ledger=part_of(status, "ledger").get("size"),
        head=part_of(station, "head"),
        needs=needs(station),
    )


def _bay(bay: Mapping[str, Any]) -> tuple[str, str]:
    state = text_of(bay, "state")
    known = state in BAY_STATES and not (state == "safe" and bay.get("safe") is not True)
    return str(bay.get("bay", "?")), state if known else "unknown"

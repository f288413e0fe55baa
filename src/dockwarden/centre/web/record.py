"""One record's page: player, sheet, label, copies, digests, its life with proofs; and its files."""

import re
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import FastAPI, Path, Request
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.exceptions import HTTPException

from dockwarden.centre.web import timeline
from dockwarden.centre.web.view import PLACES, RECORD, OfficeView, Part, row
from dockwarden.service.pages import Pages
from dockwarden.service.shown import name_of

Record = Annotated[str, Path(pattern=rf"^{RECORD.pattern}$")]
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")
# What a browser may show itself; an original never: it is whatever the device held.
_SHOWN = {"preview": "video/mp4", "sheet": "image/jpeg"}


def add(app: FastAPI, pages: Pages, office: OfficeView) -> None:
    """Add ``/records/{id}`` and ``/records/{id}/original|preview|sheet`` (with ranges, RFC 9110 §14)."""

    @app.get("/records/{record}")
    def one_record(request: Request, record: Record) -> HTMLResponse:
        found = office.record(record)
        if found is None:
            raise HTTPException(404)
        words = pages.words(request)
        facts = timeline.ordered(fact for fact in found.get("facts") or [] if isinstance(fact, dict))
        return pages.page(
            request,
            "record.html",
            row=row(found),
            road=timeline.road(facts),
            lines=[timeline.line(fact, words) for fact in facts],
            places=PLACES,
            has_original=office.file(record, "original") is not None,
            here="records",
        )

    @app.api_route("/records/{record}/{part}", methods=["GET", "HEAD"])
    def part_file(record: Record, part: Part) -> Response:
        path = office.file(record, part)
        if path is None or not path.is_file():
            raise HTTPException(404)
        if part in _SHOWN:
            return FileResponse(path, media_type=_SHOWN[part])
        found = office.record(record) or {}
        return FileResponse(
            path,
            media_type="application/octet-stream",
            filename=record + _suffix(name_of(found.get("source_name"))),
            headers={"content-security-policy": "default-src 'none'; sandbox"},
        )


def _suffix(name: str) -> str:
    """The ending of a source's name where it is plain: a download is named by its record, never by its source."""
    ending = PurePosixPath(name).suffix
    return ending.lower() if _SUFFIX.fullmatch(ending) else ""

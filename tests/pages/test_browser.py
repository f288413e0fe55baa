"""Both sides in headless Chromium: they fit, live, play, and break no rule of their own CSP."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, expect
from tests.pages.page_samples import ABSURD, PARTY, SampleOffice, bay, record_id, status

from dockwarden.agent.panel.app import panel_app
from dockwarden.centre.web.app import web_app
from dockwarden.service.errors import ServiceError
from dockwarden.service.pages import serve_http

pytestmark = pytest.mark.system

SIZES = [(1280, 800), (400, 800)]
LANGUAGES = ["zh", "en"]


@contextmanager
def opened(browser: Browser, width: int = 1280, height: int = 800, allow: str | None = None) -> Iterator[Page]:
    """A page on which any console error, CSP violation, script error, dialog or foreign request is a failure."""
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (allow and allow in message.text):
            faults.append(f"{message.type}: {message.text}")

    def refused(dialog: Dialog) -> None:
        faults.append("dialog")
        dialog.dismiss()

    page = browser.new_page(viewport={"width": width, "height": height})
    page.on("console", heard)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("dialog", refused)
    page.on("request", lambda request: None if "//127.0.0.1:" in request.url else faults.append(request.url))
    try:
        yield page
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    finally:
        page.close()
    assert faults == []


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short H.264 preview whose index is at its end, so that playing needs ranges, and a sheet."""
    folder = tmp_path_factory.mktemp("media")
    source = ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=12", "-f", "lavfi", "-i", "sine=d=12"]
    film = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "3M",
        "-minrate",
        "3M",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ]
    run = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    subprocess.run([*run, *source, *film, str(folder / "preview.mp4")], check=True)
    still = ["-i", str(folder / "preview.mp4"), "-frames:v", "1", str(folder / "sheet.jpg")]
    subprocess.run([*run, *still], check=True)
    return folder


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_bay_page_fits_and_says_each_state(browser: Browser, tmp_path: Path, width: int, height: int) -> None:
    names = {"zh": ["可取走", "未取全", "拷贝中"], "en": ["Take it", "Incomplete", "Copying"]}
    with serve_http(panel_app(status), "127.0.0.1", 0) as server:
        for language in LANGUAGES:
            with opened(browser, width, height) as page:
                page.goto(f"{server.url}/?lang={language}")
                for name in names[language]:
                    expect(page.get_by_text(name, exact=True).first).to_be_visible()
                expect(page.locator(".bay")).to_have_count(9)
                # In one step: the page lives, and an element that is held may be swapped out before it is asked.
                tall = page.locator("[data-state=safe] .bay-state").evaluate_all(
                    "found => Math.min(...found.map(e => parseFloat(getComputedStyle(e).fontSize)))"
                )
                assert tall >= 30, "to be read from two metres"
                over = page.locator(".bay").evaluate_all(
                    "all => all.filter(e => e.scrollWidth > e.clientWidth).length"
                )
                assert over == 0
                (tmp_path / f"bays-{language}.png").write_bytes(page.screenshot(full_page=True))


def test_the_bay_page_lives_speaks_and_never_keeps_an_old_green(browser: Browser) -> None:
    told: list[Callable[[], dict[str, Any]]] = [lambda: status([bay("1", "confirming"), bay("2", "empty")])]

    def tell() -> dict[str, Any]:
        return told[0]()

    def fail() -> dict[str, Any]:
        raise ServiceError("not-running", "w", "x", "d")

    with (
        serve_http(panel_app(tell), "127.0.0.1", 0) as server,
        opened(browser, allow="Failed to load resource") as page,
    ):
        page.goto(server.url + "/?lang=en")
        expect(page.locator("[data-state=confirming]")).to_be_visible()
        for _ in range(2):  # the page has heard the first state, and handled it
            with page.expect_response("**/bays.json*"):
                pass
        told[0] = lambda: status([bay("1", "safe"), bay("2", "empty")])
        expect(page.locator("[data-state=safe] .bay-state")).to_have_text("Take it")
        expect(page.locator("[data-spoken]")).to_have_text("Bay 1: Take it.")
        told[0] = fail
        expect(page.get_by_text("No contact with the station").last).to_be_visible(timeout=15_000)
        expect(page.locator(".bay")).to_have_count(0)
        told[0] = lambda: status([bay("1", "empty")])
        expect(page.locator("[data-state=empty]")).to_be_visible(timeout=15_000)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_centre_fits_and_breaks_no_rule(
    browser: Browser, media: Path, tmp_path: Path, width: int, height: int, language: str
) -> None:
    paths = {"stations": "/stations", "records": "/records", "no-preview": f"/records/{record_id(1)}"}
    with serve_http(web_app(SampleOffice(media)), "127.0.0.1", 0) as server, opened(browser, width, height) as page:
        for name, path in paths.items():
            page.goto(f"{server.url}{path}?lang={language}")
            expect(page.locator("h1")).to_be_visible()
            (tmp_path / f"{name}.png").write_bytes(page.screenshot(full_page=True))


def test_names_are_text_and_nothing_else(browser: Browser, media: Path) -> None:
    with serve_http(web_app(SampleOffice(media)), "127.0.0.1", 0) as server, opened(browser) as page:
        page.goto(server.url + "/records")
        expect(page.locator(".name")).to_have_count(len(ABSURD))
        expect(page.locator(".name").nth(1)).to_have_text("a⟨LF⟩b⟨CR⟩⟨LF⟩<script>alert(document.domain)</script>.mp4")
        expect(page.locator(".name").nth(3)).to_contain_text("⟨U+202E⟩gpj.exe")
        page.locator(".name").nth(8).click()
        expect(page.locator("h1")).to_have_text('"><img src=x onerror=alert(1)>')
        expect(page.get_by_text(PARTY).first).to_be_visible()
        assert page.locator("script").count() == 0
        assert PARTY not in page.url


def test_a_preview_plays_and_seeks_by_ranges(browser: Browser, media: Path) -> None:
    statuses: list[int] = []
    with serve_http(web_app(SampleOffice(media)), "127.0.0.1", 0) as server, opened(browser) as page:
        page.on(
            "response", lambda answer: statuses.append(answer.status) if answer.url.endswith("/preview") else None
        )
        page.goto(f"{server.url}/records/{record_id(0)}")
        video = page.locator("video")
        video.evaluate("async v => { v.muted = true; await v.play(); v.currentTime = 10.5; }")
        video.evaluate("async v => { while (v.currentTime < 10.6) await new Promise(r => setTimeout(r, 50)); }")
        assert video.evaluate("v => v.duration") == pytest.approx(12, abs=0.3)
        assert video.evaluate("v => v.error") is None
    assert statuses and set(statuses) == {206}


def test_a_life_opens_its_proofs_by_keyboard_and_gives_the_original(
    browser: Browser, media: Path, tmp_path: Path
) -> None:
    with serve_http(web_app(SampleOffice(media)), "127.0.0.1", 0) as server, opened(browser) as page:
        page.goto(f"{server.url}/records/{record_id(0)}?lang=en")
        proof = page.locator("details.proof").nth(2)
        proof.locator("summary").focus()
        page.keyboard.press("Enter")
        expect(proof.locator("pre")).to_contain_text('"seal_sha256"')
        with page.expect_download() as loading:
            page.get_by_text("Original file").click()
        assert loading.value.suggested_filename == f"{record_id(0)}.mp4"
        loading.value.save_as(tmp_path / "original")
    assert (tmp_path / "original").read_bytes() == (media / "preview.mp4").read_bytes()


def test_the_language_switch_stays(browser: Browser, media: Path) -> None:
    with serve_http(web_app(SampleOffice(media)), "127.0.0.1", 0) as server, opened(browser) as page:
        page.goto(server.url + "/records?station=station-1&lang=zh")
        page.get_by_role("link", name="English").click()
        expect(page.locator("h1")).to_contain_text("Records station-1")
        page.get_by_role("link", name="Stations").click()
        expect(page.locator("html")).to_have_attribute("lang", "en")
        expect(page.locator("h1")).to_have_text("Stations")

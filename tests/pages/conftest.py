"""A real browser for the page tests; it starts with the first test that asks for it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium (Debian's)."""
    with sync_playwright() as playwright:
        # As root there is no sandbox to be had; the pages are our own.
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()

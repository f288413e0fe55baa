"""A plain HTTP client for page tests: sends exactly what it is told, follows nothing."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from html.parser import HTMLParser
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Got:
    status: int
    headers: Message
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Got:
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target or "/", headers={"Accept-Language": "zh", **(headers or {})})
        answer = connection.getresponse()
        return Got(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Page(HTMLParser):
    """What a test asks of a page: its language, headings, elements with their attributes, and all visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def assert_sound(text: str, language: str) -> Page:
    """What holds for every page of ours."""
    page = Page(text)
    assert page.of("html") == [{"lang": language}]
    assert len(page.of("h1")) == 1
    assert all(image.get("alt") for image in page.of("img"))
    assert not [name for name, attributes in page.elements if "style" in attributes or name == "style"]
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert all(script.get("src") and script["type"] == "module" for script in page.of("script"))
    assert "{" not in page.text.replace('{ "', "") or "<pre" in text
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    return page

"""The page shell: safe headers, one language a visitor, calm errors, loopback only."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from tests.pages.fetching import assert_sound, get

from dockwarden.service.errors import ServiceError
from dockwarden.service.pages import new_app, serve_http


@pytest.fixture
def side(tmp_path: Path) -> Path:
    for folder in ("templates", "static", "locales"):
        (tmp_path / folder).mkdir()
    (tmp_path / "templates" / "page.html").write_text(
        '{% extends "shell.html" %}{% block title %}t{% endblock %}{% block main %}<h1>{{ name }}</h1>{% endblock %}'
    )
    (tmp_path / "templates" / "hole.html").write_text("{{ nobody }}")
    (tmp_path / "static" / "x.js").write_text("export {};")
    for language in ("zh", "en"):
        (tmp_path / "locales" / f"{language}.json").write_text('{"side.name": "side"}')
    return tmp_path


@pytest.fixture
def url(side: Path) -> Iterator[str]:
    app, pages = new_app(side)

    def raising(error: Exception) -> Callable[[], None]:
        def handler() -> None:
            raise error

        return handler

    @app.get("/page")
    def page(request: Request) -> Any:
        return pages.page(request, "page.html", name="<script>\u202e\udc81")

    @app.get("/hole")
    def hole(request: Request) -> Any:
        return pages.page(request, "hole.html")

    @app.get("/number")
    def number(n: int) -> int:
        return n

    for name, error in {
        "down": ServiceError("not-running", "w", "/secret/where", "d"),
        "odd": ServiceError("odd-code", "w", "x", "d"),
        "broken": ValueError("张三"),
    }.items():
        app.get(f"/{name}")(raising(error))
        app.get(f"/{name}.json")(raising(error))
    with serve_http(app, "127.0.0.1", 0) as server:
        yield server.url


def test_every_answer_has_the_safe_headers(url: str) -> None:
    for path in ("/page", "/nope", "/broken", "/down", "/static/x.js", "/shared/shell.css", "/number"):
        headers = get(url + path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if path.startswith(("/static", "/shared")) else "no-store")
        assert headers["server"] is None


def test_text_from_outside_is_escaped_and_made_visible(url: str) -> None:
    got = get(url + "/page")
    assert "<h1>&lt;script&gt;⟨U+202E⟩⟨81⟩</h1>" in got.text
    assert_sound(got.text, "zh-CN")


def test_the_language_is_asked_for_once_and_remembered(url: str) -> None:
    assert 'lang="zh-CN"' in get(url + "/page", {"Accept-Language": "fr"}).text
    asked = get(url + "/page?lang=en&x=1")
    assert_sound(asked.text, "en")
    cookie = asked.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert '<html lang="en">' in get(url + "/page", {"Cookie": cookie.split(";")[0]}).text
    assert get(url + "/page?lang=%3Cscript%3E").headers["set-cookie"] is None
    assert 'href="/page?x=1&amp;lang=zh"' in asked.text


ERRORS = [
    ("/nope", 404, "not-found", "没有这个页面"),
    ("/static/../pages.py", 404, "not-found", "没有这个页面"),
    ("/number?n=x", 400, "bad-request", "无法理解这个请求"),
    ("/broken", 500, "internal", "页面暂时无法显示"),
    ("/hole", 500, "internal", "页面暂时无法显示"),
    ("/down", 503, "not-running", "服务没有运行"),
    ("/odd", 503, "odd-code", "现在无法显示"),
]


@pytest.mark.parametrize(("language", "tag"), [("zh", "zh-CN"), ("en", "en")])
def test_errors_are_calm_pages_in_both_languages(url: str, language: str, tag: str) -> None:
    for path, status, code, zh in ERRORS:
        got = get(url + path, {"Accept-Language": language})
        assert got.status == status, path
        page = assert_sound(got.text, tag)
        assert code in page.text
        assert (zh in page.text) == (language == "zh")
        assert "张三" not in got.text and "/secret/where" not in got.text


def test_errors_of_json_addresses_are_json(url: str) -> None:
    got = get(url + "/broken.json")
    assert (got.status, got.headers.get_content_type()) == (500, "application/json")
    assert '"code":"internal"' in got.text and "张三" not in got.text
    assert get(url + "/down.json").status == 503


def test_only_loopback_names_are_answered(url: str) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "dockwarden.local:80", "", "::1"):
        got = get(url + "/page", {"Host": host})
        assert got.status == 400, host
        assert "h1" not in got.text
    for host in ("localhost", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"):
        assert get(url + "/page", {"Host": host}).status == 200, host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "", "example.org", "127.0.0.1\n"])  # noqa: S104
def test_only_loopback_is_served(side: Path, host: str) -> None:
    app, _ = new_app(side)
    with pytest.raises(ServiceError) as caught:
        serve_http(app, host, 0)
    assert caught.value.code == "not-loopback"


def test_a_taken_port_is_told_and_a_closed_server_lets_go_of_it(side: Path) -> None:
    app, _ = new_app(side)
    with serve_http(app, "localhost", 0) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(ServiceError) as caught:
            serve_http(app, "127.0.0.1", port)
        assert caught.value.code == "port-taken"
    with serve_http(app, "127.0.0.1", port) as again:
        assert get(again.url + "/nope").status == 404
    assert not [thread for thread in threading.enumerate() if thread.name == f"pages {port}"]


def test_a_port_that_cannot_be_is_told(side: Path) -> None:
    app, _ = new_app(side)
    with pytest.raises(ServiceError) as caught:
        serve_http(app, "127.0.0.1", 70000)
    assert caught.value.code == "port-taken"

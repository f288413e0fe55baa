"""The centre's pages over sample data: sound, escaped, paged, with ranges, and no personal data in an address."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pages.fetching import Page, assert_sound, get
from tests.pages.page_samples import ABSURD, CASE, PARTY, SampleOffice, fact, facts, record_id

from dockwarden.centre.web.app import web_app
from dockwarden.centre.web.needs import ALARMS, needs
from dockwarden.centre.web.records import PAGE
from dockwarden.centre.web.timeline import ordered, road
from dockwarden.service.pages import Server, serve_http

BYTES = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "preview.mp4").write_bytes(BYTES)
    (tmp_path / "sheet.jpg").write_bytes(b"\xff\xd8\xff")
    with serve_http(web_app(SampleOffice(tmp_path, extra=60)), "127.0.0.1", 0) as running:
        yield running


def test_the_start_page_is_the_stations(server: Server) -> None:
    got = get(server.url + "/")
    assert (got.status, got.headers["location"]) == (303, "/stations")


@pytest.mark.parametrize(("language", "tag"), [("zh", "zh-CN"), ("en", "en")])
def test_every_page_is_sound_and_escaped(server: Server, language: str, tag: str) -> None:
    for path in ("/stations", "/records", *(f"/records/{record_id(n)}" for n in range(len(ABSURD)))):
        got = get(f"{server.url}{path}?lang={language}")
        assert got.status == 200
        page = assert_sound(got.text, tag)
        assert "<script>alert" not in got.text and "<img src=x" not in got.text
        assert all(image["src"] and image["src"].startswith("/records/") for image in page.of("img"))


def test_no_address_holds_anything_of_anybody(server: Server) -> None:
    for path in ("/stations", "/records", f"/records/{record_id(0)}"):
        page = Page(get(server.url + path).text)
        addresses = [value for _, attributes in page.elements for key, value in attributes.items()
                     if key in ("href", "src", "download") and value]  # fmt: skip
        assert addresses
        for address in addresses:
            assert re.fullmatch(r"[\x21-\x7e]+", address)
            assert "DCIM" not in address and "0012345" not in address


def test_an_offline_station_shows_since_when_and_what_was_last_known(server: Server) -> None:
    text = Page(get(server.url + "/stations?lang=en").text).text.replace("\u2068", "").replace("\u2069", "")
    assert "Out of contact since 2026-11-24 16:00:00 This is what was last known, at 2026-11-24 15:59:55" in text
    assert "It has never told its status" in text
    assert set(get(server.url + "/stations.json").text[:8]) <= set('{"html":')


def shown_needs(card: str) -> dict[str, str]:
    """The needs that are shown: code and tone, in order."""
    return {code: tone for tone, code in re.findall(r'class="need (bad|warn)" data-need="([^"]+)"', card)}


def test_what_of_a_station_needs_a_person_is_on_its_page_the_gravest_first(server: Server) -> None:
    found = shown_needs(get(server.url + "/records?station=zhongxin-suo-shichangjianguan-2").text)
    bad = {f"alarm.{code}" for code in ALARMS} | {"alarm", "late", "backup-failed", "drill-failed", "stuck"}
    warn = {"restored", "not-confirmed", "quarantined", "finding", "unlabelled", "doubts", "bay-incomplete"}
    assert found == dict.fromkeys(bad, "bad") | dict.fromkeys(warn | {"bay-refused", "disk-low", "away"}, "warn")
    assert list(found.values()) == sorted(found.values())


def test_the_list_names_the_stations_that_need_a_person_and_what_is_gravest(server: Server) -> None:
    text = get(server.url + "/stations?lang=en").text
    cards = dict(re.findall(r'id="station-([^"]+)"(.*?)<p class="head-line">', text, re.S))
    assert list(shown_needs(cards["zhongxin-suo-shichangjianguan-2"])) == [f"alarm.{code}" for code in ALARMS[:6]]
    assert "and 16 more" in cards["zhongxin-suo-shichangjianguan-2"]
    assert next(iter(shown_needs(cards["station-1"]))) == "late"
    assert shown_needs(cards["station-4"]) == {}
    assert "2 stations need a person: station-1 , zhongxin-suo-shichangjianguan-2" in Page(text).text


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("zh", ["账本分叉", "已重新开始", "上传停滞", "3 个文件在隔离区", "异地备份失败", "恢复演练失败", "未标注",
                "已超过时限", "采集站失联", "报警：<i>new</i>"]),
        ("en", ["Forked ledger", "begun anew", "Upload stuck", "3 files are in quarantine", "Off-site backup failed",
                "The restore drill failed", "are unlabelled", "are past their deadline", "Out of contact"]),
    ],
)  # fmt: skip
def test_it_is_said_in_words(server: Server, language: str, words: list[str]) -> None:
    got = get(f"{server.url}/records?station=zhongxin-suo-shichangjianguan-2&lang={language}")
    text = assert_sound(got.text, {"zh": "zh-CN"}.get(language, language)).text
    for word in words:
        assert word in text, word
    assert "<i>new" not in got.text
    assert words[0] in Page(get(f"{server.url}/stations?lang={language}").text).text
    assert "data-need" not in get(server.url + "/records?station=station-4").text


def test_every_alarm_of_the_centre_has_words() -> None:
    """A code that has none is told by its code alone: each that the centre can raise has some."""
    sources = (Path(__file__).parents[2] / "src/dockwarden/centre").rglob("*.py")
    calls = re.findall(
        r"(?:\balarm\(\s*self\._station(?:\.name)?,|\bAlarm\(|_alarm\(|catalogue\.alarm\([^,]+,)\s*\"([a-z-]+)\"",
        "".join(path.read_text() for path in sources),
    )
    assert set(calls) == set(ALARMS)


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["alarms", "attention", "status", "state", "since"]), anything)
    | st.fixed_dictionaries(
        {
            "alarms": st.lists(st.dictionaries(st.sampled_from(["code", "at"]), anything), max_size=3),
            "attention": st.dictionaries(
                st.sampled_from(["generations", "quarantined", "upload_stuck_since"]), anything
            ),
            "status": st.dictionaries(st.sampled_from(["records", "disk", "findings", "bays"]), anything),
        }
    )
)
def test_whatever_is_told_of_a_station_its_needs_can_be_shown(told: dict[str, Any]) -> None:
    for need in needs(told):
        assert need.tone in ("bad", "warn")
        assert need.n >= 1


def test_records_are_paged_and_narrowed(server: Server) -> None:
    def names(path: str) -> list[str]:
        page = Page(get(server.url + path).text)
        return [str(link["href"]) for link in page.of("a") if link.get("class") == "name"]

    first = names("/records")
    assert len(first) == PAGE
    text = get(server.url + "/records").text
    older = re.search(r"/records\?before=([a-z2-7]{26})", text)
    assert older
    second = names(f"/records?before={older[1]}")
    assert len(second) == len(ABSURD) + 60 - PAGE
    assert not set(first) & set(second)
    narrowed = get(server.url + "/records?station=station-1")
    assert "zhongxin-suo-shichangjianguan-2</bdi></span>" not in narrowed.text
    assert "还没有记录" in get(server.url + "/records?station=nobody").text


def test_what_is_not_there_is_told_calmly(server: Server) -> None:
    for path, status in (
        ("/records/nope", 404),
        (f"/records/{'a' * 26}", 404),
        (f"/records/{'a' * 26}%0a", 404),
        (f"/records/{record_id(1)}/preview", 404),
        (f"/records/{record_id(0)}/seal.note", 404),
        ("/records?before=x", 400),
        ("/records?station=%3Cscript%3E", 400),
        ("/records?station=a%0a", 400),
    ):
        got = get(server.url + path)
        assert got.status == status, path
        assert_sound(got.text, "zh-CN")


def test_a_record_shows_label_digests_copies_and_its_life_with_proofs(server: Server) -> None:
    page = Page(get(f"{server.url}/records/{record_id(0)}").text)
    text = page.text
    for part in (CASE, PARTY, "按时办结", "SM3", "慢 1 分 24 秒", "时钟未同步", "凭证：账本 centre.wxyz6723 第 88 条",
                 "标注尚不完整", "the decoder ended with signal 11 <b>x</b> · decoder-died", "内容不在这里",
                 "brand-new-kind",
                 "video h264 1920×1080、audio aac", "preview.mp4 (48.0\u00a0MB)"):  # fmt: skip
        assert " ".join(part.split()) in text.replace("\u2068", "").replace("\u2069", ""), part
    assert page.of("video")[0]["src"] == f"/records/{record_id(0)}/preview"


def test_the_original_is_a_download_named_by_its_record(server: Server) -> None:
    got = get(f"{server.url}/records/{record_id(0)}/original")
    assert got.body == BYTES
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == f'attachment; filename="{record_id(0)}.mp4"'
    assert "sandbox" in got.headers["content-security-policy"]
    head = get(f"{server.url}/records/{record_id(0)}/original", method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BYTES)))


def test_a_player_may_ask_for_ranges(server: Server) -> None:
    url = f"{server.url}/records/{record_id(0)}/preview"
    whole = get(url)
    assert (whole.status, whole.headers["accept-ranges"], whole.headers["content-type"]) == (
        200,
        "bytes",
        "video/mp4",
    )
    part = get(url, {"Range": "bytes=100-199"})
    assert (part.status, part.body) == (206, BYTES[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(BYTES)}"
    assert get(url, {"Range": "bytes=-5"}).body == BYTES[-5:]
    assert get(url, {"Range": f"bytes={len(BYTES)}-"}).status == 416


def test_within_a_log_the_number_decides_and_not_the_clock() -> None:
    late, early = "2026-11-24T05:00:00.000Z", "2026-11-24T01:00:00.000Z"
    mixed = [
        fact("b", 1, early, "stored", None),
        fact("a", 2, early, "confirmed", None),
        fact("a", 1, late, "sealed", None),
    ]
    assert [(each["log"], each["seq"]) for each in ordered(mixed)] == [("b", 1), ("a", 1), ("a", 2)]
    shuffled = ordered(reversed(facts("x")))
    for log in ("station-1.abcd2345", "centre.wxyz6723"):
        numbers = [each["seq"] for each in shuffled if each["log"] == log]
        assert numbers == sorted(numbers)


def test_the_road_follows_the_latest_fact_of_each_kind() -> None:
    at = "2026-11-24T05:00:00.000Z"
    steps = road([
        fact("a", 1, at, "sealed", None, place="station"),
        fact("a", 2, at, "labelled", None), fact("a", 3, at, "labelled", None, outcome="failed"),
        fact("a", 4, at, "backed-up", None, place="off-site"),
        fact("a", 5, at, "backed-up", None, place="off-site", outcome="void"),
    ])  # fmt: skip
    assert {step.name: step.state for step in steps} == {
        "sealed": "done", "confirmed": "open", "labelled": "failed", "stored": "open", "backed-up": "open",
        "drilled": "open",
    }  # fmt: skip

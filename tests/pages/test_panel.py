"""The bay page: every state in words, green only for proof, and nothing of anybody on it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pages.fetching import assert_sound, get
from tests.pages.page_samples import CASE, OFFICER, PARTY, PRIVATE_NAME, bay, bays, status

from dockwarden.agent.panel.app import panel_app
from dockwarden.agent.panel.tiles import STATES, summary, tiles
from dockwarden.service.errors import ServiceError
from dockwarden.service.pages import serve_http


@pytest.fixture
def url() -> Iterator[str]:
    with serve_http(panel_app(status), "127.0.0.1", 0) as server:
        yield server.url


def test_every_state_is_told_in_both_languages(url: str) -> None:
    zh = assert_sound(get(url + "/").text, "zh-CN").text
    for word in ("空闲", "等待", "拷贝中", "核验中", "可取走", "未取全", "已拒绝", "已拷贝"):
        assert word in zh
    assert "11 个文件中有 3 个未完整取到：请将设备交办公室，不要继续使用存储卡" in zh
    assert "UTC+8 19:57:03" in zh
    en = assert_sound(get(url + "/?lang=en").text, "en").text
    for word in ("Free", "Waiting", "Copying", "Confirming", "Take it", "Incomplete", "Refused", "Copied"):
        assert word in en
    assert "3 of 11 are not wholly here: hand the device to the office, do not reuse the card" in en
    for figure in ("3 / 14", "5.31 GB / 18.7 GB", "141 MB/s", "1 min 35 s", "28%", "12,408"):
        assert figure in en.replace("\u00a0", " ")


@pytest.mark.parametrize("path", ["/", "/?lang=en", "/bays.json"])
def test_nothing_of_anybody_is_on_the_bay_page(url: str, path: str) -> None:
    text = get(url + path).text
    for secret in (PARTY, CASE, OFFICER, PRIVATE_NAME, "京海", "便民超市"):
        assert secret not in text
        assert json.dumps(secret).strip('"') not in text


def test_the_live_answer_has_the_fragment_the_words_and_the_states(url: str) -> None:
    answer = json.loads(get(url + "/bays.json?lang=en").text)
    assert set(answer) == {"html", "spoken", "bays"}
    assert answer["bays"][2] == {"bay": "3", "state": "safe"}
    assert answer["spoken"]["4"] == "Bay 4: Incomplete."
    assert "<html" not in answer["html"] and 'data-state="refused"' in answer["html"]


def test_a_status_that_cannot_be_had_is_a_calm_page() -> None:
    def down() -> dict[str, Any]:
        raise ServiceError("not-running", "the service is not running", "agent.sock", "Start it.")

    with serve_http(panel_app(down), "127.0.0.1", 0) as server:
        assert get(server.url + "/").status == 503
        assert get(server.url + "/bays.json").status == 503


def test_green_needs_both_the_state_and_the_proof() -> None:
    lying = status([bay("1", "safe", safe=False), bay("2", "SAFE"), bay("3", "safe", safe="yes"), bay("4", "safe")])
    assert [tile.state for tile in tiles(lying)] == ["unknown", "unknown", "unknown", "safe"]


def test_a_device_taken_too_early_is_to_be_docked_again() -> None:
    pulled = bay("1", "incomplete", findings=[{"code": "pulled-out", "what": "x"}])
    with serve_http(panel_app(lambda: status([pulled])), "127.0.0.1", 0) as server:
        assert "请重新插入任一仓位" in get(server.url + "/").text


def test_a_station_without_bays_and_with_doubts_says_so() -> None:
    with serve_http(panel_app(lambda: {**status([]), "findings": [PARTY, PARTY]}), "127.0.0.1", 0) as server:
        text = get(server.url + "/").text
    assert "还没有配置仓位" in text
    assert "有 2 项需要管理员查看" in text
    assert PARTY not in text


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["bays", "bay", "state", "device", "kind", "findings", "code", "what", "rate", "disk",
                             "free", "total", "records", "late", "files_done", "bytes_total", "safe", "eta_s"]),
            inner, max_size=6,
        )
    ),
    max_leaves=30,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["bays", "records", "disk", "ledger", "findings"]), anything))
def test_whatever_the_status_holds_the_tiles_can_be_shown(told: dict[str, Any]) -> None:
    for tile in tiles(told):
        assert tile.state in STATES
        assert 0 <= tile.percent <= 100
        assert all(code.isascii() for code, _ in tile.findings)
    assert summary(told).doubts >= 0


def test_the_samples_show_every_state() -> None:
    assert {each["state"] for each in bays()} == set(STATES) - {"unknown"}

"""Labels: case numbers in every shape in use, what is missing, and how two labels complete each other."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockwarden.evidence.canonical import MalformedError, encode
from dockwarden.rules.labels import (
    ACTIVITIES,
    MAX_TEXT,
    Label,
    complete,
    parse_activity,
    parse_case_number,
    parse_text,
)

SHAPES = {
    "某州某县市监处罚〔2025〕12号": "某州某县市监处罚/2025/12",
    "京海市监罚字〔2021〕7号": "京海市监罚/2021/7",
    "国市监处罚〔2026〕3号": "国市监处罚/2026/3",
    "云市监保隆处罚〔2026〕118号": "云市监保隆处罚/2026/118",
    "（杭临）市监处罚〔2024〕9号": "(杭临)市监处罚/2024/9",
}
PREFIXES = st.sampled_from(
    ["某州某县市监处罚", "京海市监罚", "国市监处罚", "云市监保隆处罚", "(杭临)市监处罚", "某市监(稽)罚", "X区市监检"]
)
BRACKETS = st.sampled_from(["〔〕", "[]", "()", "（）", "［］", "【】", "﹝﹞", "〖〗"])
SPACES = st.sampled_from(["", " ", "\u3000", "\t", "\u200b", "\u00a0"])
WIDE = str.maketrans("0123456789()", "０１２３４５６７８９（）")


@pytest.mark.parametrize(("text", "key"), SHAPES.items())
def test_every_shape_in_use_is_read(text: str, key: str) -> None:
    number = parse_case_number(text)
    assert (number.text, number.key) == (text, key)
    assert parse_case_number(number.normal).normal == number.normal


@given(PREFIXES, st.integers(1900, 2099), st.integers(1, 99_999_999), BRACKETS, SPACES, st.data())
def test_however_it_is_typed_it_is_the_same_case(
    prefix: str, year: int, number: int, brackets: str, space: str, data: st.DataObject
) -> None:
    zeros = "0" * data.draw(st.integers(0, 4))
    word, ordinal = data.draw(st.sampled_from(["", "字"])), data.draw(st.sampled_from(["", "第"]))
    opening, closing = tuple(brackets)
    parts = [prefix, word, opening, str(year), closing, ordinal, zeros + str(number), "号"]
    typed = space + space.join(parts) + space
    if data.draw(st.booleans()):
        typed = typed.translate(WIDE)
    found = parse_case_number(typed)
    assert found.key == f"{prefix}/{year}/{number}"
    assert found.normal == f"{prefix}{word}〔{year}〕{number}号"
    assert found.text == typed


HOSTILE = st.text(
    alphabet=st.one_of(st.characters(), st.sampled_from("[](〔〕2025第号字0市监e\u0301\u200d¨①ﷺ")), max_size=40
)


@given(
    st.one_of(
        HOSTILE,
        st.builds(lambda before, after: f"{before}〔2025〕{after}1号", HOSTILE, st.sampled_from(["", "第", "00"])),
    )
)
@example("e\u200d\u0301罚〔2025〕1号")
@example("a¨罚〔2025〕1号")
@example("ﷺ" * 40 + "〔2025〕1号")
@example("(甲)(乙)〔2025〕1号")
@example("[[甲]]罚[2025]1号")
@example("字〔2025〕1号")
def test_the_normal_form_of_whatever_was_read_is_read_as_itself(text: str) -> None:
    try:
        found = parse_case_number(text)
    except MalformedError:
        return
    again = parse_case_number(found.normal)
    assert (again.normal, again.key) == (found.normal, found.key)
    assert len(found.normal) <= MAX_TEXT
    assert not any(unicodedata.category(letter)[0] in "CZ" for letter in found.normal)
    encode(found.to_object()) if text.isprintable() else None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "号",
        "〔2025〕1号",
        "字〔2025〕1号",
        "[2025]某市监罚12号",
        "某市监罚〔2025〕号",
        "某市监罚〔2025〕0号",
        "某市监罚〔2025〕000号",
        "某市监罚〔1825〕1号",
        "某市监罚〔20255〕1号",
        "某市监罚〔2025〕123456789号",
        "某市监罚〔2025〕1",
        "某市监罚2025年1号",
        "某市监罚〔２٠٢٥〕1号",
        "某\x00市监罚〔2025〕1号",
        "某\ud800市监罚〔2025〕1号",
        "某\ue000市监罚〔2025〕1号",
        "某" * MAX_TEXT + "〔2025〕1号",
        "[" * 100_000 + "〔2025〕1号",
        "ﷺ" * 1_000_000,
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_what_is_no_case_number_is_refused(text: str) -> None:
    with pytest.raises(MalformedError, match="is not a case number"):
        parse_case_number(text)


def test_letters_that_cannot_be_seen_do_not_make_another_case() -> None:
    seen = parse_case_number("某市监罚〔2025〕1号")
    unseen = parse_case_number("某\u200b市监\u2060罚\ufeff〔2025〕\u202e1号")
    assert unseen.key == seen.key


CASE = parse_case_number("某市监罚〔2025〕1号")


def test_a_label_is_complete_with_case_party_and_officer() -> None:
    label = Label(case=CASE, party="某某超市", officer_name="张伟")
    assert label.missing == ()
    assert Label(officer_id="650113").missing == ("case", "party", "officer")
    assert Label(case=CASE, party="", officer_name="").missing == ("party", "officer")


def test_what_is_known_is_kept_and_only_the_gaps_are_filled() -> None:
    known = Label(party="甲", activity="行政检查")
    found = Label(case=CASE, party="乙", officer_id="1", officer_name="张伟", activity="其他", important=True)
    assert complete(known, found) == Label(CASE, "甲", "1", "张伟", "行政检查", True)
    assert complete(found, known) == found
    assert complete(Label(), found) == found == complete(found, Label())


def test_an_officers_number_never_gets_another_officers_name() -> None:
    zhang, li = Label(officer_id="1", officer_name="张伟"), Label(officer_id="2", officer_name="李娜")
    assert complete(Label(officer_id="1"), li) == Label(officer_id="1")
    assert complete(Label(officer_name="张伟"), li) == Label(officer_name="张伟")
    assert complete(Label(officer_id="1"), zhang) == zhang
    assert complete(Label(officer_name="张伟"), zhang) == zhang
    assert complete(Label(officer_id="1"), Label(officer_name="张伟")) == zhang


TEXTS = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
LABELS = st.builds(
    Label,
    st.one_of(st.none(), st.just(CASE)),
    TEXTS,
    TEXTS,
    TEXTS,
    st.one_of(st.none(), st.sampled_from(ACTIVITIES)),
    st.booleans(),
)


@given(LABELS)
def test_a_label_reads_back_as_it_was_written(label: Label) -> None:
    assert Label.from_object(label.to_object()) == label


@given(LABELS, LABELS)
def test_completing_never_takes_anything_away_and_once_is_enough(one: Label, other: Label) -> None:
    both = complete(one, other)
    assert set(both.missing) <= set(one.missing)
    assert complete(both, other) == both
    assert both.important == (one.important or other.important)


@pytest.mark.parametrize("key", ["case", "party", "officer", "activity", "important"])
@pytest.mark.parametrize("value", [7, [], {"text": 1}, {"key": "k", "normal": "n"}])
def test_a_label_of_another_form_is_malformed(key: str, value: object) -> None:
    source = Label(case=CASE, party="甲", officer_name="乙").to_object()
    if key == "officer" and isinstance(value, dict):
        value = {"name": 1}
    with pytest.raises(MalformedError):
        Label.from_object({**source, key: value})  # type: ignore[dict-item]  # hostile on purpose


def test_names_are_one_line_of_bounded_length() -> None:
    assert parse_text("party", "  某某 超市\n") == "某某 超市"
    for wrong in ("", " \t", "a\nb", "a\x00", "a\ud800", "长" * (MAX_TEXT + 1)):
        with pytest.raises(MalformedError, match="party"):
            parse_text("party", wrong)


def test_activities_are_the_eight_of_article_5() -> None:
    assert len(ACTIVITIES) == 8
    assert [parse_activity(word) for word in ACTIVITIES] == list(ACTIVITIES)
    with pytest.raises(MalformedError, match="activity"):
        parse_activity("行政检察")

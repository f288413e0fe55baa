"""Topics: one type builds and parses them all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockwarden.evidence.canonical import MalformedError
from dockwarden.wire.topics import (
    DOWN,
    UP,
    Topic,
    acl_lines,
    centre_subscriptions,
    down,
    station_subscriptions,
    up,
)


def test_every_topic_reads_back_as_it_was_built() -> None:
    topics = [up("station-1", lane) for lane in UP] + [down("station-1", lane) for lane in DOWN]
    assert [Topic.parse(topic.text) for topic in topics] == topics
    assert up("station-1", "offer").text == "dockwarden/1/station-1/up/offer"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dockwarden/1/station-1/up",
        "dockwarden/1/station-1/up/offer/",
        "/dockwarden/1/station-1/up/offer",
        "dockwarden/2/station-1/up/offer",
        "Dockwarden/1/station-1/up/offer",
        "dockwarden/1/Station/up/offer",
        "dockwarden/1//up/offer",
        "dockwarden/1/+/up/offer",
        "dockwarden/1/station-1/up/#",
        "dockwarden/1/station-1/sideways/offer",
        "dockwarden/1/station-1/up/want",
        "dockwarden/1/station-1/down/offer",
        "dockwarden/1/station-1/up/offer\n",
        "$SYS/broker/uptime",
        "dockwarden/1/" + "s" * 99 + "/up/offer",
    ],
)
def test_a_foreign_topic_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        Topic.parse(text)


@given(st.lists(st.sampled_from(["dockwarden", "1", "a", "up", "down", "offer", "want", "head", "", "+", "é"])))
def test_only_what_prints_back_is_a_topic(parts: list[str]) -> None:
    text = "/".join(parts)
    try:
        topic = Topic.parse(text)
    except MalformedError:
        return
    assert topic.text == text


def test_a_station_hears_what_goes_down_to_it_and_a_centre_all_that_goes_up() -> None:
    assert station_subscriptions("station-1") == ["dockwarden/1/station-1/down/#"]
    assert centre_subscriptions() == ["dockwarden/1/+/up/#"]
    with pytest.raises(MalformedError):
        station_subscriptions("+")


def test_the_access_list_gives_each_name_its_own_topics_alone() -> None:
    assert acl_lines("bureau") == [
        "user bureau",
        "topic read dockwarden/1/+/up/#",
        "topic write dockwarden/1/+/down/#",
        "pattern write dockwarden/1/%u/up/#",
        "pattern read dockwarden/1/%u/down/#",
    ]
    with pytest.raises(MalformedError):
        acl_lines("x\nuser y")

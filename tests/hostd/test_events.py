"""The feed: in order, without gaps, and never slowed down by who watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import pytest

from hostd.drivers import Happened
from hostd.events import BACKLOG, BATCH, Feed
from hostd.journal import Journal
from hostd.spec import Event, EventKind

T = TypeVar("T")


async def in_place(function: Callable[..., T], *args: Any) -> T:
    await asyncio.sleep(0)
    return function(*args)


@pytest.fixture
def journal() -> Iterator[Journal]:
    journal = Journal(None, clock=lambda: 1.0, new_id=lambda: "id")
    yield journal
    journal.close()


@pytest.fixture
def feed(journal: Journal) -> Feed:
    return Feed(journal, run=in_place, clock=lambda: 2.0)


def happened(number: int) -> Happened:
    return Happened(kind=EventKind.HOST, uuid=None, detail={"number": number})


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def test_stored_then_live(feed: Feed, journal: Journal) -> None:
    for number in range(BATCH + 5):
        journal.append(EventKind.HOST, None, {"number": number})
    events = feed.follow(3)
    stored = await take(events, BATCH + 2)
    await feed.record(happened(99))
    feed.progress("u", {"percent": 5})
    live = await take(events, 2)
    assert [event.seq for event in stored] == list(range(4, BATCH + 6))
    assert [(event.seq, event.at) for event in live] == [(BATCH + 6, 1.0), (0, 2.0)]


async def test_what_happens_while_the_journal_is_read_comes_once(feed: Feed) -> None:
    await feed.record(happened(1))
    events = feed.follow(0)
    first = await anext(events)
    await feed.record(happened(2))
    await feed.record(happened(3))
    assert [first.seq, *(event.seq for event in await take(events, 2))] == [1, 2, 3]


async def test_a_slow_watcher_is_sent_back_to_the_journal(feed: Feed) -> None:
    events = feed.follow(0)
    await feed.record(happened(0))
    await anext(events)
    for number in range(BACKLOG + 10):
        await feed.record(happened(number))
    assert [event.seq for event in await take(events, BACKLOG + 10)] == list(range(2, BACKLOG + 12))


async def test_who_left_costs_nothing(feed: Feed) -> None:
    events = feed.follow(0)
    await feed.record(happened(0))
    await anext(events)
    assert feed._watchers
    await events.aclose()
    assert not feed._watchers

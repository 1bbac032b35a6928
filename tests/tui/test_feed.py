"""News of the store: every commit is told once, trouble is told and survived."""

from __future__ import annotations

import threading

import pytest
from sqlmodel import Session

from core.identity import projects
from core.store import Store
from tests.tui.driving import Cloud
from tui.feed import Feed
from tui.seat import Seat


def add(session: Session, cloud: Cloud, name: str) -> None:
    from core import cloud as clouds

    projects.create(session, clouds.context(session, cloud[0], source="cli"), name=name)


def test_a_commit_of_anybody_is_news(empty: Cloud) -> None:
    news = threading.Event()
    feed = Feed(empty[1], news.set, interval=0.01)
    feed.start()
    try:
        assert news.wait(5), "the first look counts as news: something may have happened before it"
        for name in ("one", "two"):
            news.clear()
            with empty[1].write() as session:
                add(session, empty, name)
            assert news.wait(5)
    finally:
        feed.stop()


def test_a_store_that_does_not_answer_is_asked_again(empty: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    news, failed = threading.Event(), threading.Event()
    real = Store.version

    def version(store: Store) -> int:
        if not failed.is_set():
            failed.set()
            raise OSError("gone")
        return real(store)

    monkeypatch.setattr(Store, "version", version)
    feed = Feed(empty[1], news.set, interval=0.01)
    feed.start()
    try:
        assert news.wait(5)
        assert not feed.trouble
    finally:
        feed.stop()


async def test_a_seat_asks_with_a_new_request_each_time(empty: Cloud) -> None:
    seat = Seat(config=empty[0], store=empty[1])
    await seat.open()
    seat.span(True)
    first, second = seat.request(), seat.request()
    assert first.request_id != second.request_id
    assert not first.all_projects
    seat.close()

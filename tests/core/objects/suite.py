"""What every object store does, whatever it stands on. A file of tests gives `store` and takes these."""

from __future__ import annotations

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.errors import Invalid, NotFound
from core.objects import ObjectStore


class StoreSuite:
    """Tests of one ObjectStore, by the fixture `store`: an empty one."""

    def test_what_is_put_is_there(self, store: ObjectStore) -> None:
        assert store.put("chunks/ab/abc", b"one") == 3
        assert store.put("chunks/ab/abc", b"two!") == 4
        assert store.put("empty", b"") == 0
        assert (store.read("chunks/ab/abc"), store.size("chunks/ab/abc")) == (b"two!", 4)
        assert store.read("empty") == b""
        assert store.exists("chunks/ab/abc")
        assert not store.exists("chunks/ab")
        assert not store.exists("chunks/ab/ab")

    def test_what_is_not_there(self, store: ObjectStore) -> None:
        store.delete("a/b")
        assert list(store.list()) == []
        for ask in (store.read, store.size):
            with pytest.raises(NotFound):
                ask("a/b")
        with pytest.raises(NotFound), store.get("a/b"):
            pass

    def test_names_are_listed_by_prefix(self, store: ObjectStore) -> None:
        names = {"chunks/aa/1", "chunks/aa/2", "chunks/ab/1", "chunkless", "manifests/1"}
        for name in names:
            store.put(name, b"x")
        store.delete("chunks/aa/2")
        names.remove("chunks/aa/2")
        assert set(store.list()) == names
        assert set(store.list("chunks/")) == {"chunks/aa/1", "chunks/ab/1"}
        assert set(store.list("chunk")) == {"chunks/aa/1", "chunks/ab/1", "chunkless"}
        assert set(store.list("chunks/a")) == {"chunks/aa/1", "chunks/ab/1"}
        assert set(store.list("nothing/")) == set()

    @pytest.mark.parametrize("known", [True, False])
    def test_large_objects_go_by_in_pieces(self, store: ObjectStore, *, known: bool) -> None:
        data = os.urandom(18 << 20)
        assert store.put("big", io.BytesIO(data), size=len(data) if known else None) == len(data)
        assert store.size("big") == len(data)
        with store.get("big") as file:
            assert b"".join(iter(lambda: file.read(1 << 20), b"")) == data
        with store.get("big", offset=len(data) - 5) as file:
            assert file.read() == data[-5:]
        with store.get("big", offset=len(data)) as file:
            assert file.read() == b""

    def test_an_interrupted_put_leaves_what_was(self, store: ObjectStore) -> None:
        class Breaks(io.BytesIO):
            def read(self, count: int | None = -1, /) -> bytes:
                if self.tell() >= 3 << 20:
                    raise RuntimeError("the other end went away")
                return super().read(min(count or 1, 1 << 20) if count != -1 else 1 << 20)

        store.put("a", b"before")
        for name in ("a", "b"):
            with pytest.raises(RuntimeError):
                store.put(name, Breaks(bytes(8 << 20)), size=8 << 20)
        assert store.read("a") == b"before"
        assert set(store.list()) == {"a"}

    @pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a/../b", "a//b", ".a", "a/.b", "a b", "a\0b", "x" * 600])
    def test_what_is_no_name_is_refused(self, store: ObjectStore, name: str) -> None:
        for ask in (store.read, store.size, store.delete, store.exists):
            with pytest.raises(Invalid):
                ask(name)
        with pytest.raises(Invalid):
            store.put(name, b"")

    def test_eight_at_once(self, store: ObjectStore) -> None:
        """Of many who put the same name each sees some whole object, and one of them stays."""
        together = threading.Barrier(8)

        def client(number: int) -> None:
            together.wait()
            for turn in range(10):
                store.put("same", bytes([number]) * 10_000)
                found = store.read("same")
                assert len(found) == 10_000
                assert len(set(found)) == 1
                store.put(f"own/{number}/{turn + 1}", bytes([number, turn]))
                store.delete(f"own/{number}/{turn}")

        with ThreadPoolExecutor(8) as clients:
            list(clients.map(client, range(8)))
        assert set(store.list("own/")) == {f"own/{number}/10" for number in range(8)}

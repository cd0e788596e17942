"""Objects appear whole or not at all, and what a crash leaves is swept."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import pytest

from clients.objects import ObjectMissing, ObjectStore, ObjectTooLarge, chunks_of
from models.base import new_id

DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return ObjectStore(tmp_path / "files")


def names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def age(path: Path) -> None:
    long_ago = time.time() - 2 * DAY.total_seconds()
    os.utime(path, (long_ago, long_ago))


def test_an_object_comes_back_as_it_went_in_with_its_size_and_hash(store: ObjectStore) -> None:
    key, content = new_id(), [b"first ", b"", b"second"]
    stored = store.put(key, iter(content), limit=100)
    assert stored == (12, sha256(b"first second").hexdigest())
    assert store.path(key).read_bytes() == b"first second"
    assert b"".join(chunks_of(store.path(key))) == b"first second"


def test_an_object_may_be_exactly_as_large_as_the_limit_but_no_byte_larger(store: ObjectStore) -> None:
    store.put(new_id(), [b"12345"], limit=5)
    with pytest.raises(ObjectTooLarge):
        store.put(new_id(), [b"12345", b"6"], limit=5)
    assert len(names_below(store.folder)) == 1


def test_a_source_that_breaks_off_leaves_nothing_behind(store: ObjectStore) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half of it"
        raise ConnectionResetError

    key = new_id()
    with pytest.raises(ConnectionResetError):
        store.put(key, broken(), limit=100)
    assert names_below(store.folder) == []
    with pytest.raises(ObjectMissing):
        store.path(key)


def test_nothing_lies_at_its_place_before_all_bytes_have_come(store: ObjectStore) -> None:
    key, seen = new_id(), []

    def watched() -> Iterator[bytes]:
        yield b"some"
        seen.extend(names_below(store.folder / "objects"))
        yield b"more"

    store.put(key, watched(), limit=100)
    assert seen == []
    assert names_below(store.folder / "objects") == [str(key)]


def test_an_object_cannot_be_written_through_its_path(store: ObjectStore) -> None:
    key = new_id()
    store.put(key, [b"content"], limit=100)
    assert store.path(key).stat().st_mode & 0o222 == 0


def test_deleting_twice_is_deleting_once(store: ObjectStore) -> None:
    key = new_id()
    store.put(key, [b"content"], limit=100)
    store.delete(key)
    store.delete(key)
    with pytest.raises(ObjectMissing):
        store.path(key)


def test_a_scratch_folder_lives_as_long_as_its_block(store: ObjectStore) -> None:
    with store.scratch() as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text("spilled")
    assert not folder.exists()


def test_keys_are_those_of_old_objects(store: ObjectStore) -> None:
    old, young = new_id(), new_id()
    for key in (old, young):
        store.put(key, [b"content"], limit=100)
    age(store.path(old))
    assert list(store.keys(DAY)) == [old]
    assert isinstance(old, UUID)


def test_the_sweep_takes_what_old_crashes_left_and_nothing_else(store: ObjectStore) -> None:
    key = new_id()
    store.put(key, [b"content"], limit=100)
    age(store.path(key))
    with store.scratch() as in_use:
        abandoned = store.folder / "scratch" / "abandoned"
        abandoned.mkdir()
        (abandoned / "spilled").write_text("much")
        half, arriving = store.folder / "incoming" / "half", store.folder / "incoming" / "arriving"
        half.write_text("hal")
        arriving.write_text("arr")
        for path in (half, abandoned):
            age(path)
        assert store.sweep(DAY) == 2
        assert in_use.is_dir()
        assert arriving.exists()
    assert not half.exists()
    assert not abandoned.exists()
    assert store.path(key).exists()


def test_sweeping_a_store_that_was_never_written_to_finds_nothing(store: ObjectStore) -> None:
    assert store.sweep(DAY) == 0
    assert list(store.keys(DAY)) == []

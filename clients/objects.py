"""The object store: the bytes of files under their ids, in a local folder.

An object appears whole or not at all: it is written under `incoming/`, made durable, and renamed to its place. It never
changes afterwards. What a crash leaves behind lies under `incoming/` and `scratch/`, and `sweep` takes it away.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import IO, NamedTuple, ParamSpec, TypeVar
from uuid import UUID

from settings import get_settings

CHUNK = 256 * 1024
_SYNC_EVERY = 32 * 1024 * 1024

P = ParamSpec("P")
T = TypeVar("T")


class ObjectTooLarge(Exception):
    """More bytes came than the limit allows; nothing was kept."""


class ObjectMissing(Exception):
    """There is no object under this key."""


class StoreUnavailable(Exception):
    """The store's disk is full, or gone; nothing was kept."""


class Stored(NamedTuple):
    """What the store counted while it wrote."""

    bytes: int
    sha256: str


class ObjectStore:
    """Objects under `folder`, which is made at the first write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, key: UUID, chunks: Iterable[bytes], limit: int) -> Stored:
        """Keep the bytes of `chunks` under `key`, never holding more than one of them.

        Raises `ObjectTooLarge` beyond `limit` bytes, or `StoreUnavailable`. Whatever else `chunks` raises passes, and
        nothing stays behind.
        """
        handle, name = _aside(self._begun)
        try:
            with os.fdopen(handle, "wb", buffering=0) as file:
                writing = _Writing(file)
                for chunk in chunks:
                    if writing.size + len(chunk) > limit:
                        raise ObjectTooLarge
                    _aside(writing.take, chunk)
                stored = _aside(writing.finish)
            _aside(self._place, Path(name), key)
        finally:
            Path(name).unlink(missing_ok=True)
        return stored

    def path(self, key: UUID) -> Path:
        """A local, read-only path to the object. Raises `ObjectMissing`, or `StoreUnavailable` where nothing is."""
        path = self._path(key)
        if path.is_file():
            return path
        if not path.parent.parent.is_dir():
            raise StoreUnavailable("the folder of the objects is not there")
        raise ObjectMissing

    def delete(self, key: UUID) -> None:
        """Remove the object, if it is there. Readers that have it open go on."""
        self._path(key).unlink(missing_ok=True)

    def keys(self, older_than: timedelta) -> Iterator[UUID]:
        """The keys of all objects stored longer ago than `older_than`, in no order."""
        before = time.time() - older_than.total_seconds()
        for path in (self.folder / "objects").glob("*/*"):
            if _changed_at(path) < before:
                yield UUID(path.name)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for a job's passing files; it goes when the block ends."""
        with TemporaryDirectory(dir=self._made("scratch"), ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    def sweep(self, older_than: timedelta) -> int:
        """Remove what crashes left half written longer ago than `older_than`; how many files and folders that was.

        `older_than` must exceed the longest job and the longest silence within an upload.
        """
        before, swept = time.time() - older_than.total_seconds(), 0
        for path in (*self.folder.glob("incoming/*"), *self.folder.glob("scratch/*")):
            if _changed_at(path) < before:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
                swept += 1
        return swept

    def _path(self, key: UUID) -> Path:
        # The first digits of a UUIDv7 are its time and would put one day's files into one folder.
        return self.folder / "objects" / key.hex[-2:] / str(key)

    def _begun(self) -> tuple[int, str]:
        self._made("objects")
        return mkstemp(dir=self._made("incoming"))

    def _place(self, written: Path, key: UUID) -> None:
        path = self._path(key)
        shelf = self._made("objects", path.parent.name)
        written.replace(path)
        for folder in (shelf, shelf.parent):
            _sync_folder(folder)

    def _made(self, *parts: str) -> Path:
        folder = self.folder.joinpath(*parts).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def object_store() -> ObjectStore:
    """The store that the settings name."""
    return ObjectStore(get_settings().files_dir)


def chunks_of(path: Path) -> Iterator[bytes]:
    """The content of a file in pieces."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


class _Writing:
    """An object on its way to the disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self._file = file
        self._digest = sha256()
        self._synced = 0

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._digest.update(chunk)
        left = memoryview(chunk)
        while left:
            left = left[self._file.write(left) :]
        if self.size - self._synced >= _SYNC_EVERY:
            # So that one large object does not fill the page cache with what then must be written all at once.
            os.fsync(self._file.fileno())
            self._synced = self.size

    def finish(self) -> Stored:
        os.fchmod(self._file.fileno(), 0o440)
        os.fsync(self._file.fileno())
        return Stored(self.size, self._digest.hexdigest())


def _aside(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do what waits for the disk so that, in a process of greenlets, only the caller waits and not every request.

    It also lets the others run: reading a socket that always has more never does. Raises `StoreUnavailable`.
    """
    monkey = sys.modules.get("gevent.monkey")
    try:
        if monkey is None or not monkey.is_module_patched("socket"):
            return work(*arguments, **named)
        from gevent import get_hub  # noqa: PLC0415  # only where the server runs on it

        done: T = get_hub().threadpool.apply(work, arguments, named)
    except OSError as error:
        raise StoreUnavailable(str(error)) from error
    return done


def _changed_at(path: Path) -> float:
    """When the path was last written to; for ever young when it has just gone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

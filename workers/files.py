"""The files of one job's app, as its handler sees them, and the sweep that keeps store and rows in step.

A row is written after its object and removed before it, so a crash between the two leaves an object without a row,
never a row without its object; `sweep` removes the former.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from clients.objects import ObjectMissing, ObjectTooLarge, StoreUnavailable, chunks_of, object_store
from models import File
from models.base import new_id
from models.session import transaction
from settings import get_settings
from tasks import Fail, Retry
from tasks.files import FileInfo, FileNotAvailable

ORPHAN_AGE = timedelta(days=1)
"""What is younger may belong to an upload or a job that is still going on."""
_SWEPT_AT_ONCE = 1000


class QuotaExceeded(Exception):
    """The app's files would take more room than it has."""


class AppFiles:
    """The files of `app_id`; what is saved is marked as made by `job_id`. See `tasks.files.Files`."""

    def __init__(self, app_id: UUID, job_id: UUID) -> None:
        self._app_id = app_id
        self._job_id = job_id

    def describe(self, file_id: UUID) -> FileInfo:
        """See `tasks.files.Files.describe`."""
        with transaction() as session:
            row = session.execute(
                select(File.name, File.content_type, File.bytes).where(File.id == file_id, File.app_id == self._app_id)
            ).one_or_none()
        if row is None:
            raise FileNotAvailable
        return FileInfo(*row)

    def path(self, file_id: UUID) -> Path:
        """See `tasks.files.Files.path`. Raises `Retry` when the disk is gone."""
        self.describe(file_id)
        try:
            return object_store().path(file_id)
        except ObjectMissing:
            raise FileNotAvailable from None
        except StoreUnavailable as error:
            raise _later() from error

    def save(self, name: str, content_type: str, source: Path) -> UUID:
        """See `tasks.files.Files.save`. Raises `Fail` when the file is too large or the app has no room for it.

        And `Retry` when the disk is full, or gone.
        """
        store, key = object_store(), new_id()
        try:
            stored = store.put(key, chunks_of(source), get_settings().file_max_bytes)
        except ObjectTooLarge:
            raise Fail("file_too_large", "the file is larger than this installation allows") from None
        except StoreUnavailable as error:
            raise _later() from error
        file = File(
            id=key, app_id=self._app_id, name=name, content_type=content_type,
            bytes=stored.bytes, sha256=stored.sha256, job_id=self._job_id,
        )  # fmt: skip
        with unless_recorded(key):
            try:
                with transaction() as session:
                    add(session, file)
            except QuotaExceeded:
                raise Fail("file_quota_exceeded", "the app's files take up all the room it has") from None
        return key


def _later() -> Retry:
    return Retry("files_unavailable", "the disk of the files is full, or cannot be reached")


def add(session: Session, file: File) -> None:
    """Add the row of an object that is in the store. Raises `QuotaExceeded`: of two at once one gets the last room."""
    session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"files {file.app_id}", 0))))
    if file.bytes > room(session, file.app_id):
        raise QuotaExceeded
    session.add(file)
    session.flush()


@contextmanager
def unless_recorded(key: UUID) -> Iterator[None]:
    """Remove the object under `key` again when the block, which should commit its row, raises."""
    try:
        yield
    except BaseException:
        object_store().delete(key)
        raise


def room(session: Session, app_id: UUID) -> int:
    """How many bytes the app may still store; negative when its quota was lowered below what it has."""
    used = session.scalar(select(func.coalesce(func.sum(File.bytes), 0)).where(File.app_id == app_id))
    return get_settings().app_quota_bytes - int(used or 0)


def sweep() -> int:
    """Remove what crashes left behind: half-written files, scratch folders, objects without a row. How many that was.

    Harmless at any time, at once on several machines too, and cheap enough for a few times a day.
    """
    store = object_store()
    swept = store.sweep(ORPHAN_AGE)
    for keys in _batches(store.keys(ORPHAN_AGE)):
        with transaction() as session:
            known = set(session.scalars(select(File.id).where(File.id.in_(keys))))
        for key in keys - known:
            store.delete(key)
            swept += 1
    return swept


def _batches(keys: Iterator[UUID]) -> Iterator[set[UUID]]:
    while batch := set(islice(keys, _SWEPT_AT_ONCE)):
        yield batch

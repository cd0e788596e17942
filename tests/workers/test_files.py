"""What jobs save is the app's; what crashes leave is swept; quotas hold also when many save at once."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from clients.objects import ObjectMissing, object_store
from models import File
from models.base import new_id
from models.session import transaction
from settings import get_settings
from tasks import Fail
from tasks.files import FileInfo, FileNotAvailable
from workers.files import ORPHAN_AGE, AppFiles, sweep


@pytest.fixture(autouse=True)
def _own_store(app_id: UUID, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSTAY_FILES_DIR", str(tmp_path / "store"))
    monkeypatch.setenv("MAINSTAY_FILE_MAX_BYTES", "1000")
    monkeypatch.setenv("MAINSTAY_APP_QUOTA_BYTES", "2500")
    get_settings.cache_clear()
    yield
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def files(app_id: UUID) -> AppFiles:
    return AppFiles(app_id, uuid4())


def written(folder: Path, size: int) -> Path:
    path = folder / f"written-{size}"
    path.write_bytes(b"x" * size)
    return path


def objects() -> list[Path]:
    return list((get_settings().files_dir / "objects").glob("*/*"))


def test_what_a_job_saves_it_and_others_of_the_app_can_read(app_id: UUID, files: AppFiles, tmp_path: Path) -> None:
    saved = files.save("out.csv", "text/csv", written(tmp_path, 10))
    other = AppFiles(app_id, uuid4())
    assert other.path(saved).read_bytes() == b"x" * 10
    assert other.describe(saved) == FileInfo("out.csv", "text/csv", 10)


def test_the_source_of_a_save_stays_as_it_is(files: AppFiles, tmp_path: Path) -> None:
    source = written(tmp_path, 10)
    saved = files.save("out.csv", "text/csv", source)
    source.write_bytes(b"changed")
    assert files.path(saved).read_bytes() == b"x" * 10


def test_another_apps_files_are_not_available(files: AppFiles, tmp_path: Path) -> None:
    saved = files.save("out.csv", "text/csv", written(tmp_path, 10))
    stranger = AppFiles(uuid4(), uuid4())
    for look in (stranger.path, stranger.describe):
        with pytest.raises(FileNotAvailable):
            look(saved)


def test_a_row_whose_bytes_are_lost_is_not_available(files: AppFiles, tmp_path: Path) -> None:
    saved = files.save("out.csv", "text/csv", written(tmp_path, 10))
    object_store().delete(saved)
    with pytest.raises(FileNotAvailable):
        files.path(saved)


def test_a_file_too_large_fails_the_job_and_leaves_nothing(files: AppFiles, tmp_path: Path) -> None:
    with pytest.raises(Fail) as failed:
        files.save("out.csv", "text/csv", written(tmp_path, 1001))
    assert failed.value.code == "file_too_large"
    assert objects() == []


def test_of_many_that_save_at_once_only_as_many_succeed_as_there_is_room(files: AppFiles, tmp_path: Path) -> None:
    source = written(tmp_path, 1000)

    def save(number: int) -> str:
        try:
            files.save(f"{number}.csv", "text/csv", source)
        except Fail as failed:
            return failed.code
        return "saved"

    with ThreadPoolExecutor(6) as pool:
        ended = sorted(pool.map(save, range(6)))
    assert ended == ["file_quota_exceeded"] * 4 + ["saved"] * 2
    assert len(objects()) == 2


def test_a_row_that_cannot_be_written_takes_its_object_along(tmp_path: Path) -> None:
    of_no_app = AppFiles(uuid4(), uuid4())
    with pytest.raises(Exception, match="fk_files_app_id"):
        of_no_app.save("out.csv", "text/csv", written(tmp_path, 10))
    assert objects() == []


def test_the_sweep_removes_old_objects_without_a_row_and_no_others(files: AppFiles, tmp_path: Path) -> None:
    store, orphan, young = object_store(), new_id(), new_id()
    saved = files.save("out.csv", "text/csv", written(tmp_path, 10))
    for key in (orphan, young):
        store.put(key, [b"left behind"], 100)
    long_ago = time.time() - 2 * ORPHAN_AGE.total_seconds()
    for key in (saved, orphan):
        os.utime(store.path(key), (long_ago, long_ago))
    assert sweep() == 1
    assert files.path(saved).exists()
    assert store.path(young).exists()
    with pytest.raises(ObjectMissing):
        store.path(orphan)
    assert sweep() == 0
    with transaction() as session:
        assert session.scalar(select(func.count()).select_from(File)) == 1

"""data.query through the real engine: uploaded files in, a preview and a file out, and nothing of another app's."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy import select

import tasks
from clients.objects import object_store
from models import App, File, Job
from models.base import new_id
from models.session import transaction
from settings import get_settings
from tasks import data_query
from tasks.discovery import handler_of
from tests.support.engine import Engine, enqueue, job_row
from workers import queue
from workers.files import add

SALES = b"region,amount\neu,1.5\nus,2\neu,3\n"
NEVER_ENDS = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b"


def stored(app_id: UUID, content: bytes = SALES, name: str = "sales.csv", content_type: str = "text/csv") -> UUID:
    key = new_id()
    kept = object_store().put(key, [content], 10**9)
    with transaction() as session:
        file = File(id=key, app_id=app_id, name=name, content_type=content_type, **kept._asdict(), job_id=None)
        add(session, file)
    return key


@pytest.fixture
def performed(app_id: UUID, drain: Callable[[], int]) -> Callable[..., Job]:
    """The job after it was performed with the given params."""

    def perform(sql: str, inputs: dict[str, UUID] | None = None, **params: Any) -> Job:
        names = {name: str(file_id) for name, file_id in (inputs or {}).items()}
        job_id = enqueue(app_id, "data.query", {"sql": sql, "inputs": names, **params})
        drain()
        return job_row(job_id)

    return perform


def test_a_query_whose_file_is_out_of_reach_for_a_while_is_tried_again(
    app_id: UUID, performed: Callable[..., Job], drain: Callable[[], int], pass_time: Callable[[timedelta], None]
) -> None:
    file_id = stored(app_id)
    there, away = get_settings().files_dir / "objects", get_settings().files_dir / "away"
    there.rename(away)
    job = performed("SELECT count(*) AS n FROM sales", {"sales": file_id})
    assert (job.state, job.error["code"], job.error["retryable"]) == ("scheduled", "files_unavailable", True)
    away.rename(there)
    pass_time(timedelta(hours=1))
    drain()
    assert job_row(job.id).state == "succeeded"


def scratch() -> list[Path]:
    return list((get_settings().files_dir / "scratch").glob("*"))


def test_a_query_over_an_uploaded_file_has_a_preview_as_its_result(app_id: UUID, performed: Callable[..., Job]) -> None:
    job = performed("SELECT region, sum(amount) AS total FROM sales GROUP BY 1 ORDER BY 1", {"sales": stored(app_id)})
    assert job.state == "succeeded", job.error
    assert job.result == {
        "columns": [{"name": "region", "type": "VARCHAR"}, {"name": "total", "type": "DOUBLE"}],
        "rows": [["eu", 4.5], ["us", 2.0]],
        "row_count": 2,
        "truncated": False,
    }
    assert scratch() == []


@pytest.mark.parametrize(
    ("name", "content_type", "content"),
    [
        ("a.csv", "application/octet-stream", b"id,name\n1,Ada\n"),
        ("a.TSV", "application/octet-stream", b"id\tname\n1\tAda\n"),
        ("a.jsonl", "application/octet-stream", b'{"id": 1, "name": "Ada"}\n'),
        ("a", "text/csv", b"id,name\n1,Ada\n"),
        ("a", "application/x-ndjson", b'{"id": 1, "name": "Ada"}\n'),
        ("a.json", "application/json", b'[{"id": 1, "name": "Ada"}]'),
    ],
)
def test_the_format_is_told_by_the_name_or_else_by_the_content_type(
    app_id: UUID, performed: Callable[..., Job], name: str, content_type: str, content: bytes
) -> None:
    job = performed("FROM people", {"people": stored(app_id, content, name, content_type)})
    assert job.state == "succeeded", job.error
    assert job.result["rows"] == [[1, "Ada"]]


@pytest.mark.parametrize(
    ("output", "content_type"),
    [("csv", "text/csv"), ("jsonl", "application/x-ndjson"), ("parquet", "application/vnd.apache.parquet")],
)
def test_an_output_is_a_file_of_the_app_that_the_next_query_can_read(
    app_id: UUID, performed: Callable[..., Job], output: str, content_type: str
) -> None:
    job = performed("SELECT i FROM range(1_000) t(i)", output=output)
    assert job.state == "succeeded", job.error
    shown = job.result["file"]
    assert shown["name"] == f"result.{output}"
    with transaction() as session:
        row = session.scalars(select(File).where(File.id == UUID(shown["id"]))).one()
    assert (row.app_id, row.job_id, row.bytes, row.content_type) == (app_id, job.id, shown["bytes"], content_type)
    again = performed("SELECT sum(i)::BIGINT FROM made", {"made": UUID(shown["id"])})
    assert again.result["rows"] == [[499_500]]
    assert scratch() == []


def test_another_apps_file_cannot_be_found(performed: Callable[..., Job]) -> None:
    with transaction() as session:
        other = App(name="mallory")
        session.add(other)
        session.flush()
    job = performed("FROM theirs", {"theirs": stored(other.id)})
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 1, "file_not_found")


def test_a_file_that_never_was_or_lost_its_bytes_cannot_be_found(app_id: UUID, performed: Callable[..., Job]) -> None:
    lost = stored(app_id)
    object_store().delete(lost)
    for file_id in (uuid4(), lost):
        assert performed("FROM t", {"t": file_id}).error["code"] == "file_not_found"


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "sql_forbidden"),
        ("SELECT * FROM '/etc/passwd'", "sql_invalid"),
        ("COPY (SELECT 1) TO '/tmp/x'", "sql_forbidden"),
        ("SELECT nothing FROM t", "sql_invalid"),
        ("SELECT upper(region)::INT FROM t", "sql_failed"),
        ("SELECT repeat('x', 4_000_000_000)", "out_of_memory"),
    ],
)
def test_what_cannot_be_answered_fails_at_once_with_a_stable_code(
    app_id: UUID, performed: Callable[..., Job], sql: str, code: str
) -> None:
    job = performed(sql, {"t": stored(app_id)})
    assert (job.state, job.attempt, job.error["code"]) == ("failed", 1, code)
    assert "root:" not in str(job.error)
    assert str(get_settings().files_dir) not in str(job.error)


def test_a_worker_goes_on_after_a_query_that_ran_out_of_memory(performed: Callable[..., Job]) -> None:
    assert performed("SELECT list(i) FROM range(10_000_000_000) t(i)").error["code"] == "out_of_memory"
    assert performed("SELECT 1").state == "succeeded"


def test_a_file_of_no_known_format_and_one_that_is_broken_are_unreadable(
    app_id: UUID, performed: Callable[..., Job]
) -> None:
    image = stored(app_id, b"\x89PNG", "a.png", "image/png")
    broken = stored(app_id, b"id,name\n" + b"1,a\n" * 30_000 + b"1,2,3\n")
    assert performed("FROM t", {"t": image}).error["code"] == "file_unreadable"
    assert "line 30002" in performed("SELECT max(name) FROM t", {"t": broken}).error["message"]


@pytest.fixture
def kept(engine: Engine) -> Iterator[Engine]:
    """The engine with its keeper at work, who ends what takes too long or is cancelled."""
    engine.keeper.start()
    yield engine
    engine.keeper.stop()


def test_a_query_that_takes_too_long_is_stopped(app_id: UUID, kept: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.HANDLERS, "data.query", replace(handler_of("data.query"), timeout=timedelta(seconds=1)))
    job_id = enqueue(app_id, "data.query", {"sql": NEVER_ENDS}, max_attempts=1)
    begun = time.monotonic()
    kept.drain()
    assert (job_row(job_id).state, job_row(job_id).error["code"]) == ("failed", "timed_out")
    assert time.monotonic() - begun < 30
    assert scratch() == []


def test_a_running_query_can_be_cancelled(app_id: UUID, kept: Engine) -> None:
    job_id = enqueue(app_id, "data.query", {"sql": NEVER_ENDS})
    worker = Thread(target=kept.drain)
    worker.start()
    until = time.monotonic() + 20
    while job_row(job_id).state != "running" and time.monotonic() < until:
        time.sleep(0.02)
    with transaction() as session:
        queue.cancel(session, app_id, job_id)
    worker.join(30)
    assert job_row(job_id).state == "cancelled"
    assert scratch() == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"sql": ""},
        {"sql": "x" * (64 * 1024 + 1)},
        {"sql": "SELECT 1", "inputs": {"Sales": str(uuid4())}},
        {"sql": "SELECT 1", "inputs": {"1st": str(uuid4())}},
        {"sql": "SELECT 1", "inputs": {'a" AS SELECT 1 --': str(uuid4())}},
        {"sql": "SELECT 1", "inputs": {"a" * 64: str(uuid4())}},
        {"sql": "SELECT 1", "inputs": {"sales": "/etc/passwd"}},
        {"sql": "SELECT 1", "inputs": {f"t{number}": str(uuid4()) for number in range(17)}},
        {"sql": "SELECT 1", "output": "xlsx"},
        {"sql": "SELECT 1", "memory": "100GB"},
    ],
)
def test_params_that_are_no_query_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        data_query.Params.model_validate(params)


def test_a_preview_near_the_limit_of_a_result_is_cut_and_not_refused(performed: Callable[..., Job]) -> None:
    job = performed("SELECT repeat('x', 2617) AS t FROM range(100)")
    assert job.state == "succeeded", job.error
    assert job.result["truncated"]
    assert job.result["row_count"] == 100

"""Whatever a query does to its process, the caller's goes on, and no process outlives its caller's interest."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from clients.locked_duckdb import Input, Limits, Output, Query, QueryRefused
from clients.locked_duckdb.process import QueryBroken, run

LIMITS = Limits(memory_bytes=128 * 1024**2, spill_bytes=64 * 1024**2, threads=1)
NEVER_ENDS = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b"
# Bound for minutes in a part of the engine that its own interrupt does not reach.
NOT_INTERRUPTIBLE = "SELECT levenshtein(repeat('a', 300_000), repeat('b', 300_000))"


class Stopped(BaseException):
    """What a watch raises to stop the query."""


def query(scratch: Path, sql: str, *inputs: Input, output: Output | None = None) -> Query:
    return Query(sql, inputs, output, str(scratch), LIMITS)


def quiet(done: float) -> None:
    """Watch, and let it go on."""


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "clients.locked_duckdb" in child.cmdline()]


def stop_when(condition: Callable[[], bool]) -> Callable[[float], None]:
    def watch(done: float) -> None:
        if condition():
            raise Stopped

    return watch


def test_a_query_is_answered_by_a_process_that_is_gone_afterwards(tmp_path: Path) -> None:
    (tmp_path / "stored").write_text("id,name\n1,Ada\n")
    found = run(query(tmp_path, "SELECT name FROM t", Input("t", str(tmp_path / "stored"), "csv")), quiet)
    assert found["rows"] == [["Ada"]]
    assert children() == []


def test_a_refusal_comes_back_as_one(tmp_path: Path) -> None:
    with pytest.raises(QueryRefused) as refused:
        run(query(tmp_path, "SELECT * FROM read_text('/etc/passwd')"), quiet)
    assert refused.value.code == "sql_forbidden"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT list(i) FROM range(1_000_000_000) t(i)",
        "SELECT repeat('x', 3_000_000_000)",
        "SELECT sum(length(repeat('x', 100_000_000 + i::INT))) FROM range(50) t(i)",
        "SELECT list_sum(range(500_000_000))",
        "SELECT bitstring('1', 2_000_000_000)",
    ],
    ids=["what the engine counts", "one string", "many strings", "a list", "a bit string"],
)
def test_memory_is_bounded_whether_the_engine_counts_it_or_not(tmp_path: Path, sql: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        run(query(tmp_path, sql), quiet)
    assert refused.value.code == "out_of_memory"


@pytest.mark.parametrize("sql", [NEVER_ENDS, NOT_INTERRUPTIBLE], ids=["never ends", "not interruptible"])
def test_what_the_watch_raises_ends_the_process_at_once(tmp_path: Path, sql: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Stopped):
        run(query(tmp_path, sql), stop_when(lambda: time.monotonic() - begun > 1))
    assert time.monotonic() - begun < 10
    assert children() == []


def test_the_watch_sees_the_work_move_on(tmp_path: Path) -> None:
    seen: list[float] = []

    def watch(done: float) -> None:
        seen.append(done)
        if done > 0:
            raise Stopped

    with pytest.raises(Stopped):
        run(query(tmp_path, "SELECT sum(sqrt(i)) FROM range(100_000_000_000) t(i)"), watch)
    assert seen[0] == 0
    assert seen == sorted(seen)


def test_a_process_that_dies_is_told_as_broken(tmp_path: Path) -> None:
    def watch(done: float) -> None:
        for child in children():
            child.kill()

    with pytest.raises(QueryBroken):
        run(query(tmp_path, NEVER_ENDS), watch)


def test_an_output_beyond_its_limit_is_refused(tmp_path: Path) -> None:
    output = Output(str(tmp_path / "result.csv"), "csv", limit_bytes=100_000)
    with pytest.raises(QueryRefused) as refused:
        run(query(tmp_path, "SELECT * FROM range(100_000)", output=output), quiet)
    assert refused.value.code == "result_too_large"
    assert not (tmp_path / "result.csv").exists()


def test_the_process_knows_no_secret_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://a-secret")
    environments: list[dict[str, str]] = []

    def watch(done: float) -> None:
        environments.extend(child.environ() for child in children())
        if environments:
            raise Stopped

    with pytest.raises(Stopped):
        run(query(tmp_path, NEVER_ENDS), watch)
    assert "DATABASE_URL" not in environments[0]


def test_the_process_ends_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", _CALLER, str(tmp_path), NEVER_ENDS], cwd=Path(__file__).parents[3])
    asked = await_that(lambda: psutil.Process(caller.pid).children())[0]
    await_that(lambda: asked.cpu_times().user > 0.5)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    await_that(lambda: not asked.is_running() or asked.status() == psutil.STATUS_ZOMBIE)


_CALLER = """
import sys
from clients.locked_duckdb import Limits, Query
from clients.locked_duckdb.process import run
run(Query(sys.argv[2], (), None, sys.argv[1], Limits(128 * 1024**2, 0, 1)), lambda done: None)
"""


def await_that(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")

"""`make up` and `make demo` as a person meets them: the real processes, started and ended from outside."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from embedded.home import ROOT, Home
from embedded.ports import LOOPBACK
from embedded.processes import arguments_of, wait_until

ROLES = {
    "SUPERVISOR", "POSTGRES", "VALKEY", "SANDBOX", "API", "DISPATCHER", "FLOWER",
    "WORKER_PAYMENTS", "WORKER_INTEGRATIONS", "WORKER_DATA", "WORKER_DEFAULT",
}  # fmt: skip


class Run:
    """`python -m embedded up`, as its own process."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.process = subprocess.Popen(
            command(home, "up"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
        )

    def is_ready(self) -> bool:
        """Whether the env file is this run's, not that of one before."""
        return self.pids().get("SUPERVISOR") == self.process.pid

    def await_ready(self) -> None:
        if not wait_until(lambda: self.is_ready() or self.process.poll() is not None, 120) or not self.is_ready():
            raise AssertionError(self.end(signal.SIGTERM))

    def pids(self) -> dict[str, int]:
        prefix = "MAINSTAY_PID_"
        values = self.home.published().items()
        return {name.removeprefix(prefix): int(value) for name, value in values if name.startswith(prefix)}

    def end(self, number: signal.Signals) -> str:
        """Send the signal; what the process had said when it was gone."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=90)[0]


def command(home: Home, *words: str) -> list[str]:
    return [sys.executable, "-m", "embedded", "--home", str(home.folder), *words]


def invoke(home: Home, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(home, *words),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | (env or {}),
        check=False,
    )


def all_gone(pids: Mapping[str, int]) -> bool:
    return wait_until(lambda: not any(any(arguments_of(pid)) for pid in pids.values()), 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run in the folder of one that was killed with all it had started. Ends as a person ends it, leaving nothing.

    Both ends are checked here and not in tests of their own, because each start takes seconds.
    """
    killed = Run(Home(tmp_path_factory.mktemp("home")))
    killed.await_ready()
    before = killed.pids()
    killed.end(signal.SIGKILL)
    for pid in before.values():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert all_gone(before)
    run = Run(killed.home)
    run.await_ready()
    assert not set(before.values()) & set(run.pids().values())
    yield run
    pids = run.pids()
    assert "Everything is stopped." in run.end(signal.SIGTERM)
    assert run.process.returncode == 0
    assert all_gone(pids)
    assert not run.home.env_file.exists()


def test_everything_answers_once_the_env_file_is_there(run: Run) -> None:
    values = run.home.published()
    assert run.pids().keys() == ROLES
    key = {"Authorization": f"Bearer {values['MAINSTAY_API_KEY']}"}
    assert requests.get(f"{values['MAINSTAY_URL']}/v1/jobs", headers=key, timeout=10).status_code == 200
    login = (values["MAINSTAY_FLOWER_USER"], values["MAINSTAY_FLOWER_PASSWORD"])
    workers = requests.get(f"{values['MAINSTAY_FLOWER_URL']}/workers", auth=login, timeout=10)
    assert workers.status_code == 200
    assert requests.get(f"{values['MAINSTAY_FLOWER_URL']}/workers", timeout=10).status_code == 401


def test_demo_uses_the_run_that_is_there_and_its_jobs_end_as_they_must(run: Run) -> None:
    demo = invoke(run.home, "demo")
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "All 6 jobs ended as they must" in demo.stdout
    assert re.search(r"payment\.charge .* failed .* card_declined", demo.stdout)
    assert run.pids().keys() == ROLES


def test_a_second_up_says_where_the_first_one_is_and_harms_nothing(run: Run) -> None:
    before = run.pids()
    second = invoke(run.home, "up")
    assert second.returncode == 1
    assert f"already running at {run.home.published()['MAINSTAY_URL']}" in second.stderr
    assert run.pids() == before
    assert all(any(arguments_of(pid)) for pid in before.values())


def test_a_process_that_dies_is_replaced_and_the_env_file_says_so(run: Run) -> None:
    before = run.pids()
    os.kill(before["SANDBOX"], signal.SIGKILL)
    assert wait_until(lambda: run.pids().get("SANDBOX", before["SANDBOX"]) != before["SANDBOX"], 10)
    assert wait_until(lambda: any(arguments_of(run.pids()["SANDBOX"])), 10)


def test_an_interrupt_during_the_start_stops_what_had_been_started(tmp_path: Path) -> None:
    run = Run(Home(tmp_path))
    assert run.process.stdout is not None
    assert run.process.stdout.readline().startswith("PostgreSQL and Valkey run")
    servers = [int((tmp_path / "data" / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])]
    servers.append(int((tmp_path / "data" / "valkey" / "pid").read_text()))
    run.end(signal.SIGINT)
    assert run.process.returncode == 130
    assert all_gone({str(pid): pid for pid in servers})


@pytest.mark.parametrize("asked", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused_with_what_to_do(tmp_path: Path, asked: str) -> None:
    refused = invoke(Home(tmp_path), "up", env={"MAINSTAY_PORT": asked})
    assert refused.returncode == 1
    assert "it must be a port from 1 to 65535" in refused.stderr


def test_a_taken_port_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        refused = invoke(Home(tmp_path), "up", env={"MAINSTAY_PORT": str(port)})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"Port {port} on {LOOPBACK} is taken")
    assert "MAINSTAY_PORT" in refused.stderr

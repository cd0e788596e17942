"""The supervisor keeps processes alive, says what it does, and stops them in order."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded import supervisor as module
from embedded.processes import arguments_of, wait_until
from embedded.roles import Role
from embedded.supervisor import LONGEST_PAUSE, STEADY_AFTER, Program, Supervisor, Watched

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
PATIENT = "import signal; signal.pause()"
PARENT = "import subprocess, sys; c = subprocess.Popen(sys.argv[1:]); print(c.pid, flush=True); c.wait()"


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(said.append)
    yield supervisor
    supervisor.kill()
    supervisor.stop([["one"], ["two"]])


def program(folder: Path, name: str, script: str, *arguments: str, stop_within: float = 10) -> Program:
    role = Role(name, (sys.executable, "-c", script, *arguments), stop_within, lambda: True)
    return Program(role, folder / f"{name}.log", os.environ)


def test_a_process_that_dies_is_started_again_and_it_says_so(
    tmp_path: Path, supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.05)
    supervisor.start("one", program(tmp_path, "one", PATIENT))
    [pid] = supervisor.pids().values()
    os.kill(pid, signal.SIGKILL)
    assert wait_until(supervisor.look, 10)
    assert supervisor.pids() != {"one": pid}
    assert said == ["one died; starting it again in 0 s.", "one runs again."]


def test_the_pause_doubles_with_each_early_death_and_begins_anew_after_a_long_life(tmp_path: Path) -> None:
    watched = Watched("one", program(tmp_path, "one", PATIENT), started_at=100.0)
    assert [watched.pause(101.0) for _ in range(7)] == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE]
    assert watched.pause(101.0 + STEADY_AFTER) == 1


def test_a_process_that_does_not_stop_in_time_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    child = program(tmp_path, "one", STUBBORN, stop_within=0.1)
    supervisor.start("one", child)
    assert wait_until(lambda: "deaf" in child.log.read_text(), 10)
    supervisor.stop([["one"]])
    assert not child.running


def test_what_a_process_started_ends_with_it(tmp_path: Path, supervisor: Supervisor) -> None:
    parent = program(tmp_path, "one", PARENT, sys.executable, "-c", STUBBORN)
    supervisor.start("one", parent)
    assert wait_until(lambda: len(parent.log.read_text().split()) == 2, 10)
    [child] = [int(word) for word in parent.log.read_text().split() if word.isdigit()]
    supervisor.stop([["one"]])
    assert wait_until(lambda: not any(arguments_of(child)), 5)


def test_stages_stop_one_after_the_other(tmp_path: Path, supervisor: Supervisor) -> None:
    second = program(tmp_path, "two", PATIENT)
    seen: list[bool] = []

    class Witness(Program):
        def stop(self) -> None:
            super().stop()
            seen.extend((self.running, second.running))

    first = program(tmp_path, "one", PATIENT)
    first.__class__ = Witness
    for child in (second, first):
        supervisor.start(child.role.name, child)
    supervisor.stop([["one"], ["two"]])
    assert seen == [False, True]
    assert supervisor.pids() == {}


def test_a_process_goes_when_its_starter_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.embedded.test_supervisor import *;"
        "child = program(Path(sys.argv[1]), 'two', STUBBORN); child.start(); print(child.pid, flush=True);"
        "signal.pause()"
    )
    starter = program(tmp_path, "one", script, str(tmp_path))
    starter.start()
    assert wait_until(lambda: starter.log.read_text().strip().isdigit(), 10)
    child = int(starter.log.read_text())
    assert any(arguments_of(child))
    os.kill(starter.pid, signal.SIGKILL)
    starter.stop()
    assert wait_until(lambda: not any(arguments_of(child)), 5)

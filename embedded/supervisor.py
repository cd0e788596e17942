"""Keep the processes of a run alive: start them, start those anew that die, stop all in order."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from embedded import CannotRun
from embedded.home import ROOT
from embedded.processes import end, spawn
from embedded.roles import Role

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
STEADY_AFTER = 60.0


class Child(Protocol):
    """What can be kept alive: a server or a role's process."""

    @property
    def pid(self) -> int:
        """Its process id, while it runs."""

    @property
    def running(self) -> bool:
        """Whether its process is alive."""

    def start(self) -> None:
        """Start it, once more if it ran before."""

    def stop(self) -> None:
        """Stop it and wait until it is gone."""


class Program:
    """The process of one role."""

    def __init__(self, role: Role, log: Path, environment: Mapping[str, str]) -> None:
        """Nothing runs yet."""
        self.role = role
        self.log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        if self._process is None:
            raise CannotRun(f"{self.role.name} has not been started.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process. It is killed if its starter is: alone it could only wait for its databases."""
        self._process = spawn(
            self.role.command, log=self.log, cwd=ROOT, env=self._environment, death_signal=signal.SIGKILL
        )

    def stop(self) -> None:
        """Ask the process to finish what it does, for as long as its role allows."""
        if self._process is not None:
            end(self._process, signal.SIGTERM, self.role.stop_within)


@dataclass
class Watched:
    """A child and the story of its deaths."""

    name: str
    child: Child
    deaths: int = 0
    started_at: float = 0.0
    start_again_at: float | None = None

    def start(self) -> None:
        """Start the child and remember when."""
        self.child.start()
        self.started_at = time.monotonic()
        self.start_again_at = None

    def pause(self, now: float) -> float:
        """Count a death; the seconds to wait, doubling with each death that follows a short life."""
        self.deaths = 0 if now - self.started_at > STEADY_AFTER else self.deaths
        pause = min(FIRST_PAUSE * 2.0**self.deaths, LONGEST_PAUSE)
        self.deaths += 1
        self.start_again_at = now + pause
        return pause


class Supervisor:
    """The children in the order in which they started; `say` takes a line for the person who watches."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """No children yet."""
        self._say = say
        self._watched: list[Watched] = []

    def start(self, name: str, child: Child) -> None:
        """Start a child and keep it alive from now on."""
        watched = Watched(name, child)
        self._watched.append(watched)
        watched.start()

    def pids(self) -> dict[str, int]:
        """The process ids of the children that run."""
        return {watched.name: watched.child.pid for watched in self._watched if watched.child.running}

    def look(self) -> bool:
        """Start again what has died and waited long enough; whether anything was started."""
        now = time.monotonic()
        dead = [watched for watched in self._watched if not watched.child.running]
        started = [self._attend(watched, now) for watched in dead]
        return any(started)

    def _attend(self, watched: Watched, now: float) -> bool:
        if watched.start_again_at is None:
            self._say(f"{watched.name} died; starting it again in {watched.pause(now):.0f} s.")
        elif now >= watched.start_again_at:
            try:
                watched.start()
            except CannotRun as reason:
                self._say(f"{reason}\nTrying {watched.name} again in {watched.pause(now):.0f} s.")
            else:
                self._say(f"{watched.name} runs again.")
                return True
        return False

    def stop(self, stages: Sequence[Sequence[str]]) -> None:
        """Stop everything, stage after stage, the children of one stage at once."""
        with ThreadPoolExecutor(8) as pool:
            for stage in stages:
                names = [watched for watched in self._watched if watched.name in stage]
                list(pool.map(lambda watched: watched.child.stop(), names))
        self._watched.clear()

    def kill(self) -> None:
        """Kill every process at once; what was accepted is in Postgres, which recovers at its next start."""
        for pid in self.pids().values():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

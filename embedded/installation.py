"""All of Mainstay on one machine: started in order, kept alive, stopped in order."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

import requests
from celery import Celery

from embedded import CannotRun, environment
from embedded.folder import FolderLock
from embedded.home import ROOT, Home, Kept
from embedded.postgres import Postgres
from embedded.processes import StartFailed, end_leftover, tethered, wait_until
from embedded.roles import LANES, Ports, api, dispatcher, flower, python, sandbox, url, worker
from embedded.supervisor import Program, Supervisor
from embedded.valkey import Valkey

READY_DEADLINE = 90.0
LEFTOVER_DEADLINE = 5.0
LOOK_EVERY = 0.2

STOP_STAGES = (
    ("api",),
    ("dispatcher",),
    tuple(lane.role for lane in LANES),
    ("flower", "sandbox"),
    ("valkey",),
    ("postgres",),
)


class AlreadyRunning(CannotRun):
    """Another process runs Mainstay in this folder."""


class Installation:
    """One run in one folder; a context manager that starts and stops it.

    Everything is started from the main thread, to which Linux ties the processes.
    """

    def __init__(self, home: Home, port: int | None, say: Callable[[str], None]) -> None:
        """Nothing runs yet. `port` is the API's; without one every port is a free one."""
        self._home = home
        self._port = port
        self._say = say
        self._lock = FolderLock(home.folder)
        self._supervisor = Supervisor(say)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when every process answers and the env file says where; on failure nothing stays behind."""
        self._take_folder()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def watch(self) -> None:
        """Keep everything alive until interrupted."""
        while True:
            if self._supervisor.look():
                self._publish()
            time.sleep(LOOK_EVERY)

    def stop(self) -> None:
        """Stop everything in order; a second interrupt kills what is left."""
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, lambda *_: self._supervisor.kill()) for number in signals}
        self._home.env_file.unlink(missing_ok=True)
        self._supervisor.stop(STOP_STAGES)
        self._lock.release()
        for number, handler in before.items():
            signal.signal(number, handler)

    def _take_folder(self) -> None:
        try:
            self._lock.take()
        except CannotRun as held:
            where = self._home.published().get("MAINSTAY_URL", "an address it has yet to tell")
            raise AlreadyRunning(
                f"Mainstay is already running at {where}: use it (`. {self._home.env_file}`), "
                f"or stop it where it runs with Ctrl-C. {held}"
            ) from None

    def _start(self) -> None:
        self._end_leftovers()
        self._home.prepare()
        self._ports = Ports.choose(self._port)
        self._kept = Kept.load(self._home)
        self._start_servers()
        self._environment = environment.for_processes(self._home, self._kept, self._ports, self._postgres, self._valkey)
        self._run("migrate", *python("alembic", "upgrade", "head"))
        self._start_programs()
        self._ensure_keys()
        self._kept.save(self._home)
        self._publish()

    def _end_leftovers(self) -> None:
        """End what a killed run left where the system does not do so by itself."""
        for name, value in self._home.published().items():
            if name.startswith(environment.pid_name("")):
                end_leftover(int(value), sys.executable, signal.SIGKILL, LEFTOVER_DEADLINE)
        self._home.env_file.unlink(missing_ok=True)

    def _start_servers(self) -> None:
        data, log = self._home.data, self._home.log
        self._postgres = Postgres(data / "postgres", log=log("postgres"))
        self._valkey = Valkey(data / "valkey", log=log("valkey"))
        self._supervisor.start("postgres", self._postgres)
        self._supervisor.start("valkey", self._valkey)
        self._say(f"PostgreSQL and Valkey run; their data is in {data}.")

    def _start_programs(self) -> None:
        roles = [
            sandbox(self._ports, self._home.data / "sandbox"),
            *(worker(lane, self._worker_answers) for lane in LANES),
            dispatcher(),
            api(self._ports),
            flower(self._ports),
        ]
        programs = [Program(role, self._home.log(role.name), self._environment) for role in roles]
        for program in programs:
            self._supervisor.start(program.role.name, program)
        for program in programs:
            self._await(program)
            self._say(f"{program.role.name} is ready.")

    def _await(self, program: Program) -> None:
        wait_until(lambda: not program.running or program.role.answers(), READY_DEADLINE)
        if not (program.running and program.role.answers()):
            raise StartFailed(program.role.name, program.log, program.log.read_text(errors="replace"))

    def _worker_answers(self, node: str) -> bool:
        with Celery(broker=self._valkey.url, set_as_current=False) as client:
            return bool(client.control.ping([node], timeout=1, limit=1))

    def _ensure_keys(self) -> None:
        """Use the keys of an earlier run if they are still good."""
        if not self._is_good(self._kept.api_key):
            self._kept.api_key = self._new_key("demo", "--all-app-scopes")
            self._kept.operator_key = self._new_key("operators", "--operator")

    def _is_good(self, key: str) -> bool:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{url(self._ports.api)}/v1/kinds", headers={"Authorization": f"Bearer {key}"}, timeout=10
            )
        return answer.status_code == HTTPStatus.OK

    def _new_key(self, app: str, scopes: str) -> str:
        made = self._run("keys", *python("cli", "keys", "create", "--app", app, scopes, "--json"))
        return str(json.loads(made)["key"])

    def _run(self, name: str, *command: str) -> str:
        finished = subprocess.run(
            tethered(command, signal.SIGTERM),
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        log = self._home.log(name)
        with log.open("a") as file:
            file.write(finished.stderr)
        if finished.returncode:
            raise StartFailed(name, log, finished.stderr + finished.stdout)
        return finished.stdout

    def _publish(self) -> None:
        pids = self._supervisor.pids() | {"supervisor": os.getpid()}
        values = environment.for_shells(self._kept, self._ports, self._postgres, self._valkey, pids)
        self._home.publish(values)

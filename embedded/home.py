"""Where a run keeps its things: the folder `.mainstay`, and what it remembers from one run to the next."""

import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from embedded.folder import write_private

ROOT = Path(__file__).resolve().parent.parent
"""The project: the folder in which every command runs."""


@dataclass(frozen=True)
class Home:
    """The paths of one run's folder."""

    folder: Path

    @property
    def data(self) -> Path:
        """What lasts: databases, files, the sandbox's books, secrets."""
        return self.folder / "data"

    @property
    def env_file(self) -> Path:
        """What a shell sources; it exists exactly while everything is ready."""
        return self.folder / "env"

    def log(self, role: str) -> Path:
        """The log of one role."""
        return self.folder / "logs" / f"{role}.log"

    def prepare(self) -> None:
        """Make the folders; the logs of the run before this one become `*.log.1`."""
        for folder in (self.data, self.folder / "logs"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for log in (self.folder / "logs").glob("*.log"):
            log.replace(f"{log}.1")

    def publish(self, values: Mapping[str, str]) -> None:
        """Write the file that a shell can source; sourcing it exports every value."""
        lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
        write_private(self.env_file, "\n".join(["set -a", *lines, "set +a", ""]))

    def published(self) -> dict[str, str]:
        """What the file says; empty when there is none."""
        try:
            words = [shlex.split(line) for line in self.env_file.read_text().splitlines() if "=" in line]
        except FileNotFoundError:
            return {}
        return dict(word.split("=", 1) for [word] in words)


@dataclass
class Kept:
    """Secrets made on the first run and used again: keys and sessions outlive a restart."""

    key_pepper: str = field(default_factory=secrets.token_urlsafe)
    flower_password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    flower_cookie_secret: str = field(default_factory=lambda: secrets.token_urlsafe(48))
    api_key: str = ""
    operator_key: str = ""

    @classmethod
    def load(cls, home: Home) -> "Kept":
        """What an earlier run kept, or new secrets."""
        try:
            return cls(**json.loads((home.data / "secrets.json").read_text()))
        except FileNotFoundError:
            return cls()

    def save(self, home: Home) -> None:
        """Keep them, readable by their owner alone."""
        write_private(home.data / "secrets.json", json.dumps(asdict(self), indent=2))

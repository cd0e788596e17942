"""docker-compose.yml without containers: each service's own command as a process here, on what its image would hold.

A process gets the environment and the secrets that its service declares and no others, and runs in a copy of what
.dockerignore lets into the image. Only addresses, ports and mount points are replaced by ones of this machine.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from embedded.ports import LOOPBACK, free_port
from embedded.processes import await_end, end, spawn

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]

PORTS = ("8000", "5555", "8080", "12111", "12112", "12113")
STOP_DEADLINE = 20.0
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_ADDRESS = re.compile(r"\b(?:api|flower|sandbox):(?=\d)")
_PORT = re.compile(rf"(?<!\d)(?:{'|'.join(PORTS)})(?!\d)")


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Compose's own substitution, as far as the file uses it."""
    return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2], text).replace("$$", "$")


def in_image() -> list[str]:
    """What .dockerignore lets in. It refuses everything first, so what counts are the exceptions."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


class Compose:
    """The services on one database and one Redis; a context manager that stops what it started."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, variables: Mapping[str, str] | None = None):
        self.folder = folder
        self.secrets = folder / "secrets"
        self._variables = {"MAINSTAY_SITE": f"http://{LOOPBACK}:8080", **(variables or {})}
        self._ports = {port: str(free_port()) for port in PORTS}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._build_image(folder / "app")
        self._make_secrets(database_url, redis_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()

    def stop_all(self) -> dict[str, int]:
        """End everything that runs, all at once; the exit codes."""
        processes, self._processes = self._processes, {}
        for process in processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in processes.values():
            await_end(process, STOP_DEADLINE)
        return {name: process.returncode for name, process in processes.items()}

    def url(self, port: str) -> str:
        """Where the service that listens on this port in its container listens here."""
        return f"http://{LOOPBACK}:{self._ports[port]}"

    def secret(self, name: str) -> str:
        return (self.secrets / name).read_text().strip()

    def start(self, name: str, copy: int = 1) -> None:
        """Start the service; `copy` numbers its replicas."""
        log = self._log(name, copy)
        log.touch()
        self._processes[log.stem] = spawn(
            self._command(name, SERVICES[name]["command"]),
            log=log,
            cwd=self.folder / "app",
            env=self._environment(name),
        )

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """Run a one-shot service to its end."""
        return self._run(name, SERVICES[name]["command"])

    def invoke(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run another command where the service runs, as `docker compose exec` does."""
        return self._run(name, list(command))

    def health(self, name: str) -> subprocess.CompletedProcess[str]:
        """Ask the service the way its container would be asked."""
        kind, *command = SERVICES[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self._run(name, command)

    def stop(self, name: str, copy: int = 1) -> int:
        """End the service as Compose would; its exit code."""
        process = self._processes.pop(self._log(name, copy).stem)
        end(process, signal.SIGTERM, STOP_DEADLINE)
        return process.returncode

    def said(self, name: str, copy: int = 1) -> str:
        """What the service has written."""
        return self._log(name, copy).read_text()

    def _log(self, name: str, copy: int) -> Path:
        return self.folder / f"{name}-{copy}.log"

    def _run(self, name: str, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(name, command),
            env=self._environment(name),
            cwd=self.folder / "app",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def _command(self, name: str, command: list[str]) -> list[str]:
        program = shutil.which(command[0], path=PATH)
        assert program is not None, f"{name}: {command[0]} is not installed"
        return [program, *(self._here(name, word) for word in command[1:])]

    def _environment(self, name: str) -> dict[str, str]:
        declared = {key: self._here(name, str(value)) for key, value in SERVICES[name].get("environment", {}).items()}
        image = {
            "PATH": PATH,
            "HOME": str(self.folder),
            "PYTHONPATH": str(self.folder / "app"),
            "PYTHONUNBUFFERED": "1",
        }
        return image | {"MAINSTAY_SECRETS_DIR": str(self._mounted(name))} | declared

    def _mounted(self, name: str) -> Path:
        """The folder that stands for /run/secrets: what the service was given."""
        folder = self.folder / "run" / name
        folder.mkdir(parents=True, exist_ok=True)
        for secret in SERVICES[name].get("secrets", []):
            shutil.copy(self.secrets / secret, folder / secret)
        return folder

    def _here(self, name: str, text: str) -> str:
        text = interpolate(text, self._variables).replace("0.0.0.0", LOOPBACK)
        text = _ADDRESS.sub(f"{LOOPBACK}:", text)
        text = _PORT.sub(lambda found: self._ports[found[0]], text)
        for mounted in SERVICES[name].get("configs", []):
            text = text.replace(mounted["target"], str(ROOT / FILE["configs"][mounted["source"]]["file"]))
        text = text.replace("/run/secrets", str(self._mounted(name)))
        return text.replace("/var/lib/mainstay", str(self.folder / "var"))

    def _build_image(self, app: Path) -> None:
        for name in in_image():
            source, target = ROOT / name, app / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        for folder in ("files", "flower", "sandbox"):
            (self.folder / "var" / folder).mkdir(parents=True)

    def _make_secrets(self, database_url: str, redis_url: str) -> None:
        subprocess.run([ROOT / "deploy" / "secrets.sh", self.secrets], check=True, capture_output=True)
        for name, value in (("database_url", database_url), ("redis_url", redis_url)):
            (self.secrets / name).unlink()
            (self.secrets / name).write_text(value + "\n")

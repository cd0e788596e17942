"""The API in processes of its own, under the server and the settings it has in production."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import requests

from embedded.ports import free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(log: Path, environment: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a server that answers; it is gone when the block ends."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-c", "api/gunicorn.conf.py", "--bind", f"127.0.0.1:{port}"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "WEB_CONCURRENCY": "1", **(environment or {})}, stdout=out, stderr=out
        )
    try:
        await_answer(f"http://127.0.0.1:{port}/livez", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def await_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the server answers; a server that ended or stays silent is a failure that shows its log."""
    until = monotonic() + 30
    while monotonic() < until and process.poll() is None:
        try:
            if requests.get(address, timeout=30).ok:
                return
        except requests.ConnectionError:
            sleep(0.05)
    raise AssertionError(f"no answer from {address}:\n{log.read_text()}")

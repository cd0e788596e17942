"""Start a process that does not outlive its starter, end it, recognise one that a killed run left over."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from embedded import CannotRun, tether

POLL = 0.02
LOG_LINES_SHOWN = 15


class StartFailed(CannotRun):
    """A process ended, or stayed silent, before it was ready; carries what it wrote."""

    def __init__(self, name: str, log: Path, written: str) -> None:
        tail = "\n".join(f"    {line}" for line in written.splitlines()[-LOG_LINES_SHOWN:])
        super().__init__(f"{name} did not start. Its log is {log} and ends with:\n{tail}")
        self.written = written


def tethered(command: Sequence[str], death_signal: signal.Signals, account: str | None = None) -> list[str]:
    """The command, made to receive the signal when this process dies, run as the account if one is named."""
    starter, number = str(os.getpid()), str(int(death_signal))
    return [sys.executable, "-I", "-S", tether.__file__, starter, number, account or "-", *command]


def spawn(  # noqa: PLR0913 -- each is a fact about the process that only its caller knows
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    account: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, its output appended to the log.

    Its own session keeps a Ctrl-C at the terminal from reaching it, so that everything stops in our order.
    Linux ties a process to the *thread* that started it: call from a thread that lasts, the main one.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered(command, death_signal, account),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], request: signal.Signals, deadline: float) -> None:
    """Ask the process to stop, past the deadline (seconds) kill it; what it started ends with it."""
    if process.poll() is not None:
        # Long gone, perhaps: its number may be another's by now.
        return
    process.send_signal(request)
    await_end(process, deadline)


def await_end(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for a process that was asked to stop, past the deadline (seconds) kill it; what it started ends with it.

    Asking twice is no courtesy: an interpreter on its way out has put the signal's own effect back already.
    """
    if process.poll() is not None:
        return
    with suppress(subprocess.TimeoutExpired):
        process.wait(deadline)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def end_leftover(pid: int, word: str, request: signal.Signals, deadline: float) -> bool:
    """End the process only if `word` is one of its arguments; whether there was such a process.

    A number in a file says nothing by itself: the system may have given it to somebody else since.
    """
    if word not in arguments_of(pid):
        return False
    os.kill(pid, request)
    if not wait_until(lambda: word not in arguments_of(pid), deadline):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: word not in arguments_of(pid), deadline)
    return True


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when there is none, or only a dead one not yet collected."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            return []
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.split()


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Whether the condition came true within the deadline (seconds)."""
    last = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > last:
            return False
        time.sleep(POLL)
    return True


def await_start(
    process: subprocess.Popen[bytes], ready: Callable[[], bool], deadline: float, log: Path, written_from: int
) -> None:
    """Return once the process is ready; one that ends or takes too long is `StartFailed`."""
    wait_until(lambda: process.poll() is not None or ready(), deadline)
    if process.poll() is None and ready():
        return
    end(process, signal.SIGKILL, deadline)
    raise StartFailed(log.stem, log, read_from(log, written_from))


def read_from(log: Path, position: int) -> str:
    """What was written to the log after the position."""
    with log.open("rb") as file:
        file.seek(position)
        return file.read().decode(errors="replace")

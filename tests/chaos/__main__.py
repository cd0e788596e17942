"""`python -m tests.chaos`: one run; exits with 1 when a promise was broken or a fault of the plan did not happen."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from tests.chaos.controls import CONTROLS, Control
from tests.chaos.faults import FAULTS, load_all
from tests.chaos.fleet import DISK
from tests.chaos.plan import LANDING, LONG, Scale
from tests.chaos.report import show
from tests.chaos.run import Order, run

load_all()
SCALES = {"landing": LANDING, "long": LONG}


@click.command()
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed is the same plan.")
@click.option("--scale", type=click.Choice(list(SCALES)), default="long", show_default=True)
@click.option("--duration", type=float, help="Seconds of the storm; more faults in proportion.")
@click.option("--rate", type=float, help="Jobs per second.")
@click.option("--faults", type=int, help="Faults in the storm.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(sorted(FAULTS)),
    metavar="FAULT",
    help="Cause these faults only. Repeatable.",
)
@click.option("--control", type=click.Choice(list(CONTROLS)), help="A negative control instead: the run must fail.")
@click.option("--keep", type=click.Path(path_type=Path), help="Leave the logs and the data in this folder.")
def main(  # each is an option
    seed: int, scale: str, duration: float | None, rate: float | None, faults: int | None,
    only: tuple[str, ...], control: str | None, keep: Path | None,
) -> None:  # fmt: skip
    """Kill, freeze, wipe and restart every part of Mainstay under load, and count what came of it."""
    order = _control(seed, CONTROLS[control]) if control else Order(seed, _scale(scale, duration, rate, faults), only)
    with _folder(keep) as folder, _disk(folder) as disk:
        verdict = run(order, folder, disk, _say)
    click.echo(show(verdict))
    sys.exit(0 if verdict.passed else 1)


def _scale(name: str, duration: float | None, rate: float | None, faults: int | None) -> Scale:
    scale = SCALES[name]
    if duration:
        scale = replace(scale, storm=duration, faults=round(scale.faults * duration / scale.storm))
    return replace(scale, rate=rate or scale.rate, faults=scale.faults if faults is None else faults)


def _control(seed: int, control: Control) -> Order:
    return Order(seed, control.scale, control.faults, control.mix, control.sabotage)


def _say(line: str) -> None:
    click.echo(line)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    folder = keep or Path(tempfile.mkdtemp(prefix="mainstay-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # Postgres may run as another account.
    try:
        yield folder.resolve()
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk(folder: Path) -> Iterator[Path | None]:
    """A small file system in memory, where we may mount one: only root may."""
    disk = folder / "disk"
    disk.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(disk)]
    mounted = shutil.which("mount") and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield disk if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


if __name__ == "__main__":
    main()

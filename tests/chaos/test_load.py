"""The load submits what its seed says, and what it writes down is what the rows say, also when the API goes away."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from embedded.ports import LOOPBACK, free_port
from embedded.roles import responds, url
from models.session import transaction
from tests.chaos import points
from tests.chaos.journal import Journal
from tests.chaos.load import Load, NotAccepted, Pace
from tests.chaos.orders import Mix, Orders
from tests.support.processes import Process, eventually
from workers.keys import APP_SCOPES, create

SINK = "http://127.0.0.1:9"


class Api:
    """The API that knows the kinds of chaos; it can be killed and started again at its address."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._folder = folder
        self.url = url(self._port)
        self.start()

    def start(self) -> None:
        self.process = Process(
            self._folder / "api.log", sys.executable, "-m", "gunicorn", "--config", "api/gunicorn.conf.py",
            "--workers", "1", "--bind", f"{LOOPBACK}:{self._port}", "tests.chaos.api:create_app()",
            **{points.FOLDER: str(self._folder / "points")},
        )  # fmt: skip

    def ready(self) -> None:
        eventually(lambda: responds(f"{self.url}/readyz"))


@pytest.fixture
def api(database: None, tmp_path: Path) -> Iterator[Api]:
    running = Api(tmp_path)
    running.ready()
    yield running
    running.process.end()


@pytest.fixture
def secret(database: None) -> str:
    with transaction() as session:
        return create(session, "chaos", "tests", APP_SCOPES).secret


def rows() -> dict[str, list[UUID]]:
    """The ids of the jobs by the request that their label names, in the order of their making."""
    found: dict[str, list[UUID]] = defaultdict(list)
    with transaction() as session:
        for job_id, name in session.execute(text("SELECT id, labels->>'request' FROM jobs ORDER BY id")):
            found[name].append(job_id)
    return found


def test_the_same_seed_asks_for_the_same() -> None:
    def bodies(seed: int) -> list[bytes]:
        mix = Mix(variants={"keyed": 1, "unique": 1, "payment": 1})
        orders = Orders("name", seed, SINK, mix)
        return [orders.single().body for _ in range(20)] + [orders.bulk().body for _ in range(3)]

    assert bodies(1) == bodies(1)
    assert bodies(1) != bodies(2)


def test_a_pace_is_kept_and_an_outage_is_not_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tests.chaos.load.time.monotonic", lambda: now)
    pace = Pace(10)
    assert [pace.take(units) for units in (1, 20, 1)] == pytest.approx([0, 0.1, 2.1])
    now += 60
    assert [pace.take(units) for units in (10, 1)] == pytest.approx([-1, 0])


def test_what_clients_were_told_is_in_the_rows_though_the_api_was_killed(api: Api, secret: str) -> None:
    journal = Journal()
    load = Load(api.url, secret, SINK, journal, seed=3, rate=60)
    load.start()
    eventually(lambda: load.submitted > 20)
    api.process.end()
    eventually(lambda: journal.failures["ConnectionError"])
    api.start()
    again = load.submitted
    eventually(lambda: load.submitted > again)
    load.stop()
    found = rows()
    for request in journal.requests.values():
        if request.answered and not request.existing:
            assert sorted(request.ids) == sorted(found[request.name])
            assert len(request.ids) == request.size
        else:
            assert len(found[request.name]) in (0, request.size)
    assert journal.contradictions == []


def test_a_job_for_the_plan_is_submitted_until_the_api_takes_it(api: Api, secret: str) -> None:
    journal = Journal()
    load = Load(api.url, secret, SINK, journal, seed=3)
    api.process.end()
    api.start()
    job = load.submit("chaos.stubborn", "integrations", seconds=5.0)
    assert rows() == {"plan-1": [job]}
    assert journal.failures.total()
    with pytest.raises(NotAccepted, match="unknown_kind"):
        load.submit("no.such")
    load.burst()
    assert len(rows()["burst-3"]) == journal.requests["burst-3"].size > 1

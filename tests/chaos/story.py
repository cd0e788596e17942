"""A story to try the counts on: everything that can happen to a job happens to one, through the real engine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from api import create_app
from models import App, lease, lifecycle
from models.attempt import Outcome
from models.job import State
from models.lifecycle import Claim, Ending, NewJob
from models.session import transaction
from tests.chaos import kinds  # noqa: F401  # declares them
from tests.chaos.invariants import Charge, read_charges
from tests.chaos.journal import Journal
from tests.chaos.sink import Effect, Sink, read_effects
from tests.sandbox.process import Sandbox
from tests.support.engine import QUEUES, Engine
from workers import keys

LEASE = timedelta(seconds=20)
VISA = {"amount": 1999, "currency": "EUR", "payment_method": "pm_card_visa"}
DECLINED = VISA | {"payment_method": "pm_card_visa_chargeDeclined"}
ASKING = VISA | {"payment_method": "pm_card_authenticationRequired"}


class Story:
    """Jobs by the name of the request that made them, and what everybody outside knows of them."""

    def __init__(self, sink: str, effects: Path, sandbox: Sandbox) -> None:
        self.journal = Journal()
        self._sink, self._effects, self._sandbox = sink, effects, sandbox
        self._engine = Engine()
        with transaction() as session:
            app = App(name="alice")
            session.add(app)
            session.flush()
            self.app_id, secret = app.id, keys.create(session, "alice", "tests", keys.APP_SCOPES).secret
        self._client: FlaskClient = create_app().test_client()
        self._client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"

    @property
    def effects(self) -> list[Effect]:
        return read_effects(self._effects)

    @property
    def charges(self) -> list[Charge]:
        return read_charges(self._sandbox.data / "payments.sqlite3")

    def __getitem__(self, request: str) -> UUID:
        return self.journal.requests[request].ids[0]

    def live(self) -> None:
        """All of it, until no job is live."""
        self._submit_all()
        self._cancel("cancelled")
        self._perform()
        self._retry("cancelled")
        self._lose_a_message("unheard_of")
        self._perform()
        self._lose_a_worker("orphaned")
        self._perform()

    def submit(self, name: str, kind: str, params: dict[str, Any] | None = None, *, heard: bool = True, **more: Any):
        """Submit a job under a key of its own; `heard` says whether its answer arrives."""
        body = {"kind": kind, "params": params or {}, "labels": {"request": name}, **more}
        self.journal.ask(name, 1, name)
        answer = self._client.post("/v1/jobs", json=body, headers={"Idempotency-Key": name})
        if answer.status_code == 202 and heard:
            self.journal.accept(name, [answer.json])
        elif answer.status_code != 202:
            self.journal.refuse(name, f"{answer.status_code} {answer.json['code']}")

    def submit_bulk(self, name: str, size: int, *, heard: bool = True) -> None:
        jobs = [{"kind": "chaos.quick", "params": {}, "labels": {"request": name}}] * size
        self.journal.ask(name, size, name, bulk=True)
        answer = self._client.post("/v1/jobs/bulk", json=jobs, headers={"Idempotency-Key": name})
        if heard:
            self.journal.accept(name, [item["job"] for item in answer.json["items"]])

    def _submit_all(self) -> None:
        for name in ("quick", "quick"):  # The second time it gets the first answer again.
            self.submit(name, "chaos.quick")
        self.submit("effect", "chaos.effect", {"sink": self._sink})
        self.submit("flaky", "chaos.flaky", {"until": 2})
        self.submit("fail", "chaos.fail")
        self.submit("parent", "chaos.parent", {"sink": self._sink})
        self.submit("cancelled", "chaos.quick", delay_s=60)
        self.submit("first", "chaos.quick", unique_key="one")
        self.submit("refused", "chaos.quick", unique_key="one")
        self.submit("shared", "chaos.quick", unique_key="one", on_conflict="return_existing")
        self.submit("late", "chaos.quick", delay_s=60, deadline_s=1)
        for name, params in (("paid", VISA), ("declined", DECLINED), ("asking", ASKING)):
            self.submit(name, "payment.charge", params)
        self.submit_bulk("bulk", 3)
        self.submit_bulk("unheard", 3, heard=False)
        self.journal.ask("never sent", 3, "never sent", bulk=True)

    def _perform(self) -> None:
        """Long enough for every backoff and delay to pass."""
        for _ in range(3):
            self._engine.drain()
            self._engine.upkeep()
            self._engine.pass_time(timedelta(seconds=90))

    def _cancel(self, name: str) -> None:
        assert self._client.post(f"/v1/jobs/{self[name]}/cancel").status_code == 202
        self.journal.cancelled.add(self[name])

    def _retry(self, name: str) -> None:
        assert self._client.post(f"/v1/jobs/{self[name]}/retry").status_code == 202
        self.journal.retried.add(self[name])

    def _lose_a_message(self, name: str) -> None:
        self.submit(name, "chaos.quick")
        self._engine.dispatch()
        self._engine.pass_time(timedelta(seconds=31))
        self._engine.upkeep()

    def _lose_a_worker(self, name: str) -> None:
        """It notes its progress and vanishes; when it comes back, the job is not its own any more."""
        self.submit(name, "chaos.effect", {"sink": self._sink})
        ((_, _, hints),) = self._engine.dispatch()
        with transaction() as session:
            (held,) = lifecycle.claim(session, hints, "gone@there:1", LEASE)
        with transaction() as session:
            assert lease.save_progress(session, held.id, held.token, {"fraction": 0.5, "note": ""})
        self._engine.pass_time(LEASE + timedelta(seconds=5))
        self._engine.upkeep()
        with transaction() as session:
            assert not lifecycle.record(session, [success(held)])


def success(claim: Claim) -> Ending:
    """The ending of an attempt that succeeded, signed as the kinds of a run sign their results."""
    return Ending(claim.id, claim.token, Outcome.SUCCEEDED, State.SUCCEEDED, result={"token": str(claim.token)})


def claimed(session: Session, app_id: UUID) -> Claim:
    """A new job in the hands of an attempt."""
    (row,) = lifecycle.insert(session, app_id, [NewJob("chaos.quick", {}, "default", 50)])
    return claimed_again(session, row.id)


def claimed_again(session: Session, job_id: UUID) -> Claim:
    """A waiting job in the hands of an attempt."""
    lifecycle.stage(session, QUEUES, 10)
    hints = lifecycle.dispatch(session, [job_id], LEASE)
    (claim,) = lifecycle.claim(session, list(hints.values()), "somebody@here:1", LEASE)
    return claim


def copied(journal: Journal) -> Journal:
    """A journal that can be written in without a trace in the first."""
    copy = Journal()
    copy.accepted.update(journal.accepted)
    copy.requests.update({name: replace(request, ids=[*request.ids]) for name, request in journal.requests.items()})
    copy.cancelled |= journal.cancelled
    copy.retried |= journal.retried
    return copy


@contextmanager
def running_sink(file: Path) -> Iterator[str]:
    """A sink in this process; its address."""
    with Sink(0, file) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

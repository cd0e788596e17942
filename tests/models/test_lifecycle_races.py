"""Threads do at once whatever may be done to a few jobs; what Postgres wrote down of it must hold together.

What each thread draws comes of the seed in the test's name; how the threads interleave does not.
"""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import DeadlockDetected
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from models import Attempt, lease, lifecycle
from models.job import LIVE, State
from models.lifecycle import Claim, Hint, NewJob
from models.session import transaction
from tests.support.audit import Change, announce, audited, changes
from tests.support.endings import SAYINGS, ending
from tests.support.engine import job_row
from tests.support.lifecycle_model import EDGES, MAX_LOST
from workers.timeline import timeline

THREADS = 6
TRANSACTIONS = 200
JOBS = 4
QUEUES = ("default",)
LEASE = timedelta(seconds=20)
LIMIT = 100
DEEDS = (
    "stage", "stage", "dispatch", "dispatch", "dispatch", "withdraw", "prolong", "claim", "claim", "claim", "claim",
    "claimed", "record", "record", "record", "renew", "doubt", "rescue", "rescue", "abandon", "lose", "expire",
    "cancel", "retry", "retry", "pass_time", "pass_time", "pass_time",
)  # fmt: skip
FAILING = [saying for saying in SAYINGS if saying.state is not State.SUCCEEDED]
"""What may go on: nothing more happens to a job that has succeeded."""
SILENT = ("abandon", "pass_time")
"""They do not answer what they did."""


@dataclass
class World:
    """The jobs, and every hint and claim that anybody ever had: zombies included."""

    app_id: UUID
    ids: list[UUID]
    hints: list[Hint] = field(default_factory=list)
    claims: list[tuple[Claim, str]] = field(default_factory=list)


class Actor:
    """One thread and its connection. Each deed returns how many rows it says that it changed."""

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.random = random.Random(seed)
        self.worker = f"default@one:{seed}"
        self.hints: list[Hint] = []
        self.claims: list[Claim] = []

    def run(self) -> Counter[str]:
        """What was done and committed, by name. The victim of a deadlock did nothing."""
        done: Counter[str] = Counter()
        for _ in range(TRANSACTIONS):
            names = self.random.choices(DEEDS, k=self.random.choice((1, 1, 2)))
            try:
                done += self.transact(names)
            except OperationalError as error:
                if not isinstance(error.orig, DeadlockDetected):
                    raise
        return done

    def transact(self, names: list[str]) -> Counter[str]:
        """One or two deeds, which hold their locks until both are done."""
        done: Counter[str] = Counter()
        self.hints, self.claims = [], []
        with transaction() as session:
            session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            session.execute(text("SET LOCAL lock_timeout = '30s'"))
            for name in names:
                done[name] += getattr(self, name)(session)
        self.world.hints += self.hints
        self.world.claims += [(claim, self.worker) for claim in self.claims]
        return done

    def late(self, known: list[Any], most: int) -> list[Any]:
        """Some of what is known, more often of late."""
        last = len(known) - 1
        places = {max(0, last - int(self.random.expovariate(0.3))) for _ in range(self.random.randint(1, most))}
        return [known[place] for place in sorted(places)] if known else []

    def some(self) -> list[UUID]:
        return self.random.sample(self.world.ids, self.random.randint(1, JOBS))

    def stage(self, session: Session) -> int:
        announce(session, "stage", {})
        return lifecycle.stage(session, QUEUES, LIMIT)

    def dispatch(self, session: Session) -> int:
        announce(session, "dispatch", {})
        marked = lifecycle.dispatch(session, self.some(), LEASE)
        self.hints += marked.values()
        return len(marked)

    def withdraw(self, session: Session) -> int:
        hints = self.late(self.world.hints, 2)
        announce(session, "withdraw", {"hints": [list(hint) for hint in hints]})
        return lifecycle.withdraw(session, hints, self.random.choice((timedelta(0), LEASE)))

    def prolong(self, session: Session) -> int:
        hints = self.late(self.world.hints, 2)
        announce(session, "prolong", {"hints": [list(hint) for hint in hints]})
        return lifecycle.prolong(session, hints, LEASE)

    def claim(self, session: Session) -> int:
        hints = self.late([*self.world.hints, *self.hints], 3)
        announce(session, "claim", {"hints": [list(hint) for hint in hints]})
        claims = lifecycle.claim(session, hints, self.worker, LEASE)
        self.claims += claims
        return len(claims)

    def claimed(self, session: Session) -> int:
        hints = self.late(self.world.hints, 3)
        announce(session, "claimed", {"hints": [list(hint) for hint in hints]})
        return len(lifecycle.claimed(session, hints, self.worker, LEASE))

    def record(self, session: Session) -> int:
        held = self.late(self.known(), 2)
        sayings = SAYINGS if self.random.random() < 0.1 else FAILING
        endings = [ending(claim, replace(self.random.choice(sayings), delay=0)) for claim, _ in held]
        said = {str(ending.token): [ending.outcome, ending.presumed] for ending in endings}
        announce(session, "record", {"said": said})
        return len(lifecycle.record(session, endings))

    def known(self) -> list[tuple[Claim, str]]:
        return [*self.world.claims, *((claim, self.worker) for claim in self.claims)]

    def renew(self, session: Session) -> int:
        held = {claim.token: claim.id for claim, _ in self.late(self.known(), 3)}
        announce(session, "renew", {"tokens": list(held)})
        return len(lease.renew(session, held, LEASE))

    def doubt(self, session: Session) -> int:
        held = self.late(self.known(), 1)
        unsettled = self.random.random() < 0.5
        announce(session, "doubt", {"tokens": [claim.token for claim, _ in held]})
        return sum(lease.save_checkpoint(session, c.id, c.token, {"n": 1}, unsettled=unsettled) for c, _ in held)

    def abandon(self, session: Session) -> int:
        announce(session, "abandon", {})
        for claim, worker in self.late(self.known(), 1):
            lease.abandon(session, [claim.id], worker)
        return 0

    def rescue(self, session: Session) -> int:
        announce(session, "rescue", {})
        return len(lifecycle.rescue(session, QUEUES, MAX_LOST, LIMIT))

    def lose(self, session: Session) -> int:
        announce(session, "lose", {})
        return lifecycle.lose_messages(session, QUEUES, LIMIT, self.random.choice((timedelta(0), 2 * LEASE)))

    def expire(self, session: Session) -> int:
        announce(session, "expire", {})
        return len(lifecycle.expire(session, QUEUES, LIMIT))

    def cancel(self, session: Session) -> int:
        announce(session, "cancel", {})
        return lifecycle.cancel(session, self.world.app_id, self.random.choice(self.world.ids)) is not None

    def retry(self, session: Session) -> int:
        announce(session, "retry", {})
        return lifecycle.retry(session, self.world.app_id, self.random.choice(self.world.ids)) is not None

    def pass_time(self, session: Session) -> int:
        """For one job, so that it waits for no other."""
        announce(session, "pass_time", {})
        moved = ", ".join(
            f"{name} = {name} - interval '1 minute'" for name in ("run_at", "lease_expires_at", "expires_at")
        )
        session.execute(text(f"UPDATE jobs SET {moved} WHERE id = :id"), {"id": self.random.choice(self.world.ids)})
        return 0


def raced(app_id: UUID, seed: int) -> Counter[str]:
    """Let the threads loose on new jobs; what they say that they did."""
    later = datetime.now(UTC) + timedelta(minutes=15)
    limits = [None, later] * (JOBS // 2)
    with transaction() as session:
        news = [NewJob("text.count", {}, "default", 3, expires_at=limit) for limit in limits]
        world = World(app_id, [row.id for row in lifecycle.insert(session, app_id, news)])
    actors = [Actor(world, f"{seed}-{number}") for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        return sum(threads.map(Actor.run, actors), Counter())


@pytest.mark.parametrize("seed", range(10))
def test_what_is_done_at_once_is_done_as_if_one_by_one(app_id, seed):
    with audited():
        done = raced(app_id, seed)
        with transaction() as session:
            seen = changes(session)
            ended = {str(attempt.id): attempt.outcome for attempt in session.scalars(select(Attempt))}
    answered = {name: count for name, count in done.items() if count}
    assert answered == Counter(change.doing["name"] for change in seen if change.doing["name"] not in SILENT)
    for change in seen:
        only_what_may_be(change)
    claims = [change for change in seen if change.edge == ("dispatched", "running")]
    assert len({(change.id, change.after["epoch"]) for change in claims}) == len(claims)
    left = [
        change.before["lease_token"] for change in seen if change.before["state"] == "running" != change.after["state"]
    ]
    assert sorted(left) == sorted(ended)
    check_endings(seen, ended)
    check_timelines({change.id for change in seen})


def only_what_may_be(change: Change) -> None:
    """One change, by itself."""
    before, after, doing = change.before, change.after, change.doing
    assert before["state"] == after["state"] or change.edge in EDGES, change
    assert 0 <= after["attempt"] <= after["max_attempts"], change
    assert after["epoch"] - before["epoch"] == (doing["name"] == "dispatch"), change
    assert after["lost"] - before["lost"] == 1 or doing["name"] != "rescue", change
    if before["lease_token"] is None and after["lease_token"] is not None:
        assert doing["name"] == "claim", change
        assert [change.id, before["epoch"]] in doing["hints"], change
    if before["state"] == "running" != after["state"]:
        only_as_a_running_job_may_end(change)
    if before["unsettled"] and after["state"] in ("failed", "cancelled", "expired"):
        assert before["state"] == after["state"] or not doing["said"][before["lease_token"]][1], change


def only_as_a_running_job_may_end(change: Change) -> None:
    before, after, doing = change.before, change.after, change.doing
    if doing["name"] == "rescue":
        assert datetime.fromisoformat(before["lease_expires_at"]) < change.at, change
        assert (after["lost"] < MAX_LOST and not before["cancel_requested_at"]) == (after["state"] == "scheduled"), (
            change
        )
    else:
        assert doing["name"] == "record", change
        assert before["lease_token"] in doing["said"], change
    assert not (before["cancel_requested_at"] and after["state"] in LIVE), change


def check_endings(seen: list[Change], ended: dict[str, str]) -> None:
    """Each attempt ended as its holder said, or was lost."""
    for change in seen:
        token = change.before["lease_token"]
        if change.doing["name"] == "rescue":
            assert ended[token] == "lost", change
        if change.doing["name"] == "record":
            assert ended[token] == change.doing["said"][token][0], change


def check_timelines(ids: set[str]) -> None:
    for job_id in ids:
        with transaction() as session:
            numbers = [event.seq for event in timeline(session, UUID(job_id), limit=10_000)]
        assert numbers == list(range(1, job_row(UUID(job_id)).seq + 1))

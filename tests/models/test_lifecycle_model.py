"""Several dispatchers, workers and a client do what they like with stale knowledge: every answer and row is foretold.

Whoever acts may hold any id, hint or token that anybody ever had: replayed messages and zombies included.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import lease, lifecycle
from models.lifecycle import Claim, Ending, Hint
from models.session import transaction
from tests.support.endings import SAYINGS, Saying, ending
from tests.support.lifecycle_model import EDGES, HOUR, LEASE, MAX_LOST, Model, ModelJob
from tests.support.lifecycle_rows import check, check_timelines, near
from tests.support.wishes import WISHES, Wish

DISPATCHERS = st.sampled_from([("default",), ("default", "data")])
WORKERS = st.sampled_from(["default@one:1", "default@one:2", "data@two:1"])
AGES = st.sampled_from([0, 0, 1, 2])
"""How many dispatches ago a message was sent."""
ALL = ("default", "data")
LIMIT = 100
KEPT_LEASE = timedelta(seconds=LEASE)


class Actors(RuleBasedStateMachine):
    """Each rule does one thing to Postgres and to the model, and compares the answers."""

    jobs: Bundle[UUID] = Bundle("jobs")
    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self, app_id: UUID, pass_time: Callable[[timedelta], None]) -> None:
        super().__init__()
        self.app_id, self.shift = app_id, pass_time
        self.model = Model()
        with transaction() as session:
            for table in ("events", "attempts", "jobs"):
                session.execute(text(f"DELETE FROM {table}"))

    @contextmanager
    def acting(self) -> Iterator[Session]:
        """One transaction, after which whatever has changed took a drawn edge and has its place in its timeline."""
        before = {job.id: (job.state, job.seq) for job in self.model.jobs.values()}
        with transaction() as session:
            yield session
        changed = {job.id for job in self.model.jobs.values() if before.get(job.id) != (job.state, job.seq)}
        for job_id in changed & before.keys():
            edge = (before[job_id][0], self.model.jobs[job_id].state)
            assert edge[0] is edge[1] or edge in EDGES
        with transaction() as session:
            check_timelines(session, self.model, changed)

    @invariant()
    def rows_are_as_foretold(self) -> None:
        with transaction() as session:
            check(session, self.model)
        assert all(0 <= job.attempt <= job.max_attempts for job in self.model.jobs.values())

    @initialize(target=jobs, wishes=st.lists(WISHES, min_size=2, max_size=2))
    def begin(self, wishes: list[Wish]) -> Any:
        return self.submit(wishes)

    @precondition(lambda self: len(self.model.jobs) < 5)
    @rule(target=jobs, wishes=st.lists(WISHES, min_size=1, max_size=2))
    def submit(self, wishes: list[Wish]) -> Any:
        with self.acting() as session:
            rows = lifecycle.insert(session, self.app_id, [wish.new() for wish in wishes])
            expected = self.model.insert(wish.expected(self.model.now) for wish in wishes)
        assert [(row.id, row.state) for row in rows] == expected
        return multiple(*(row.id for row in rows))

    @precondition(lambda self: not self.imminent())
    @rule(queues=DISPATCHERS)
    def stage(self, queues: tuple[str, ...]) -> None:
        with self.acting() as session:
            assert lifecycle.stage(session, queues, LIMIT) == self.model.stage(queues)

    def imminent(self) -> bool:
        """Whether something is due within seconds, as after a rescue: nobody can tell whether it is due yet."""
        return any(0 < job.run_at - self.model.now < HOUR for job in self.model.jobs.values())

    @rule(first=jobs, others=st.lists(jobs, max_size=3))
    def dispatch(self, first: UUID, others: list[UUID]) -> None:
        self.mark([first, *others])

    def mark(self, ids: list[UUID]) -> list[Hint]:
        with self.acting() as session:
            marked = lifecycle.dispatch(session, ids, KEPT_LEASE)
            assert marked == self.model.dispatch(ids)
        return list(marked.values())

    def aged(self, *messages: tuple[UUID, int]) -> list[Hint]:
        """What the messages of this or an earlier dispatch of these jobs say."""
        return [Hint(job_id, max(0, self.model.jobs[job_id].epoch - age)) for job_id, age in messages]

    @rule(
        first=jobs,
        age=AGES,
        others=st.lists(st.tuples(jobs, AGES), max_size=2),
        delay=st.sampled_from([0, 0, 2 * HOUR]),
    )
    def withdraw(self, first: UUID, age: int, others: list[tuple[UUID, int]], delay: int) -> None:
        hints = list(dict.fromkeys(self.aged((first, age), *others)))
        with self.acting() as session:
            withdrawn = lifecycle.withdraw(session, hints, timedelta(seconds=delay))
            assert withdrawn == self.model.withdraw(hints, delay)

    @rule(first=jobs, age=AGES, others=st.lists(st.tuples(jobs, AGES), max_size=2))
    def prolong(self, first: UUID, age: int, others: list[tuple[UUID, int]]) -> None:
        hints = list(dict.fromkeys(self.aged((first, age), *others)))
        with self.acting() as session:
            assert lifecycle.prolong(session, hints, KEPT_LEASE) == self.model.prolong(hints)

    @rule(target=claims, worker=WORKERS, first=jobs, age=AGES, others=st.lists(st.tuples(jobs, AGES), max_size=3))
    def claim(self, worker: str, first: UUID, age: int, others: list[tuple[UUID, int]]) -> Any:
        hints = self.aged((first, age), *others)
        claims = self.begin_work(worker, hints)
        self.ask_again(worker, hints)
        return multiple(*claims)

    def begin_work(self, worker: str, hints: list[Hint]) -> list[Claim]:
        with self.acting() as session:
            claims = lifecycle.claim(session, hints, worker, KEPT_LEASE)
            expected = self.model.claim(hints, worker)
            assert [claim.id for claim in claims] == [job.id for job in expected]
            for claim, job in zip(claims, expected, strict=True):
                self.take(claim, job)
        return claims

    def ask_again(self, worker: str, hints: list[Hint]) -> None:
        """As if the answer had been lost."""
        with self.acting() as session:
            claims = lifecycle.claimed(session, hints, worker, KEPT_LEASE)
            expected = self.model.claimed(hints, worker)
        assert [(claim.id, claim.token) for claim in claims] == [(job.id, job.token) for job in expected]

    @rule(target=claims, worker=WORKERS, first=jobs, others=st.lists(jobs, max_size=3))
    def deliver(self, worker: str, first: UUID, others: list[UUID]) -> Any:
        """A dispatch whose message arrives at once."""
        return multiple(*self.begin_work(worker, self.mark([first, *others])))

    @rule(
        target=claims,
        worker=WORKERS,
        first=jobs,
        others=st.lists(jobs, max_size=3),
        unsettled=st.booleans(),
        cancelled=st.booleans(),
        saying=st.sampled_from(SAYINGS),
    )
    def work(
        self, worker: str, first: UUID, others: list[UUID], unsettled: bool, cancelled: bool, saying: Saying
    ) -> Any:
        """A delivery that ends at once, and when days have passed what is left of it is due again."""
        claims = self.begin_work(worker, self.mark([first, *others]))
        for claim in claims:
            self.save_checkpoint(claim, unsettled)
        if cancelled:
            self.cancel(first)
        self.write_down([ending(claim, saying) for claim in claims])
        self.pass_time(60 * HOUR)
        self.stage(ALL)
        return multiple(*claims)

    @rule(target=claims, worker=WORKERS, job_id=jobs, unsettled=st.booleans(), times=st.integers(1, MAX_LOST))
    def vanish(self, worker: str, job_id: UUID, unsettled: bool, times: int) -> Any:
        """Deliveries whose worker is never heard of again, but for what it says later."""
        claims = []
        for _ in range(times):
            claims += self.begin_work(worker, self.mark([job_id]))
            for claim in claims:
                self.save_checkpoint(claim, unsettled)
            self.pass_time(LEASE)
            self.rescue(ALL)
            self.pass_time(HOUR)
            self.stage(ALL)
        return multiple(*claims)

    @rule(worker=WORKERS, job_id=jobs, age=AGES, withdrawn=st.booleans())
    def come_late(self, worker: str, job_id: UUID, age: int, withdrawn: bool) -> None:
        """A message that counted as lost arrives, or is withdrawn, when its job has been dispatched anew."""
        self.dispatch(job_id, [])
        self.pass_time(LEASE)
        self.lose_messages(ALL, 0)
        self.dispatch(job_id, [])
        if withdrawn:
            self.withdraw(job_id, age, [], 0)
        else:
            self.begin_work(worker, self.aged((job_id, age)))

    @rule(target=claims, worker=WORKERS, claim=claims, saying=st.sampled_from(SAYINGS))
    def speak_late(self, worker: str, claim: Claim, saying: Saying) -> Any:
        """A worker that was taken for dead wakes up when its job is somebody else's."""
        claims = self.begin_work(worker, self.mark([claim.id]))
        self.save_progress(claim, 0.75)
        self.renew(claim, [])
        self.write_down([ending(claim, saying)])
        return multiple(*claims)

    def take(self, claim: Claim, job: ModelJob) -> None:
        """Let the model know the token that Postgres drew, which nobody may have had before."""
        assert claim.token not in {ended.token for job in self.model.jobs.values() for ended in job.attempts}
        assert (claim.attempt, claim.max_attempts) == (job.attempt, job.max_attempts)
        assert (claim.app_id, claim.checkpoint) == (self.app_id, job.checkpoint)
        left = None if claim.deadline_in is None else claim.deadline_in.total_seconds()
        assert near(left, None if job.deadline_at is None else job.deadline_at - self.model.now)
        job.token = claim.token

    @rule(
        claim=claims,
        saying=st.sampled_from(SAYINGS),
        others=st.lists(st.tuples(claims, st.sampled_from(SAYINGS)), max_size=2),
    )
    def record(self, claim: Claim, saying: Saying, others: list[tuple[Claim, Saying]]) -> None:
        said = {claim.token: ending(claim, saying) for claim, saying in [*others, (claim, saying)]}
        self.write_down(list(said.values()))

    def write_down(self, endings: list[Ending]) -> None:
        with self.acting() as session:
            assert lifecycle.record(session, endings) == self.model.record(endings)

    @rule(first=claims, others=st.lists(claims, max_size=2))
    def renew(self, first: Claim, others: list[Claim]) -> None:
        held = {claim.token: claim.id for claim in (first, *others)}
        with self.acting() as session:
            assert lease.renew(session, held, KEPT_LEASE) == self.model.renew(held)

    @rule(claim=claims, fraction=st.sampled_from([0.25, 0.5]))
    def save_progress(self, claim: Claim, fraction: float) -> None:
        progress = {"fraction": fraction, "note": ""}
        with self.acting() as session:
            saved = lease.save_progress(session, claim.id, claim.token, progress)
            assert saved == self.model.save_progress(claim.token, progress)

    @rule(claim=claims, unsettled=st.booleans())
    def save_checkpoint(self, claim: Claim, unsettled: bool) -> None:
        checkpoint = {"by": str(claim.token)}
        with self.acting() as session:
            saved = lease.save_checkpoint(session, claim.id, claim.token, checkpoint, unsettled=unsettled)
            assert saved == self.model.save_checkpoint(claim.token, checkpoint, unsettled=unsettled)

    @rule(worker=WORKERS, first=jobs, others=st.lists(jobs, max_size=3), queues=DISPATCHERS)
    def abandon_and_rescue(self, worker: str, first: UUID, others: list[UUID], queues: tuple[str, ...]) -> None:
        with self.acting() as session:
            lease.abandon(session, [first, *others], worker)
            self.model.abandon([first, *others], worker)
        self.rescue(queues)

    @rule(queues=DISPATCHERS)
    def rescue(self, queues: tuple[str, ...]) -> None:
        with self.acting() as session:
            assert set(lifecycle.rescue(session, queues, MAX_LOST, LIMIT)) == self.model.rescue(queues)

    @rule(queues=DISPATCHERS, early=st.sampled_from([0, 0, 2 * LEASE]))
    def lose_messages(self, queues: tuple[str, ...], early: int) -> None:
        with self.acting() as session:
            lost = lifecycle.lose_messages(session, queues, LIMIT, timedelta(seconds=early))
            assert lost == self.model.lose_messages(queues, early)

    @rule(queues=DISPATCHERS)
    def expire(self, queues: tuple[str, ...]) -> None:
        with self.acting() as session:
            assert set(lifecycle.expire(session, queues, LIMIT)) == self.model.expire(queues)

    @rule(job_id=jobs)
    def cancel(self, job_id: UUID) -> None:
        with self.acting() as session:
            assert lifecycle.cancel(session, uuid4(), job_id) is None
            assert lifecycle.cancel(session, self.app_id, job_id) == self.model.cancel(job_id)

    @rule()
    def give_way(self) -> None:
        with self.acting() as session:
            assert set(lifecycle.give_way(session, self.app_id, ["key"])) == self.model.give_way(["key"])

    @rule(job_id=jobs)
    def retry(self, job_id: UUID) -> None:
        with self.acting() as session:
            try:
                expected = self.model.retry(job_id)
            except ValueError:
                with pytest.raises(IntegrityError), session.begin_nested():
                    lifecycle.retry(session, self.app_id, job_id)
            else:
                assert lifecycle.retry(session, self.app_id, job_id) == expected

    @rule(seconds=st.sampled_from([HOUR, 3 * HOUR, 3 * HOUR, 10 * HOUR]))
    def pass_time(self, seconds: int) -> None:
        self.shift(timedelta(seconds=seconds))
        self.model.pass_time(seconds)


def test_a_job_only_takes_drawn_edges(app_id, pass_time):
    for attempt in range(3):
        try:
            walk(app_id, pass_time)
        except FlakyStrategyDefinition:
            # Hypothesis walked the same way twice and met other rows: a machine so slow that real time counted. Every
            # answer was foretold all the same, or it would have been another error.
            if attempt == 2:
                raise
        else:
            return


def walk(app_id, pass_time):
    run_state_machine_as_test(
        lambda: Actors(app_id, pass_time),
        settings=settings(
            max_examples=60, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )

"""Two transitions meet on one job: whoever waited for the other sees what became of it, and nothing happens twice.

For every state of a job and every ordered pair of transitions: the first has done its statement and not committed yet,
the second begins, the first commits or rolls back. What `Model` says of the one after the other must hold.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy, deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from models import lease, lifecycle
from models.lifecycle import Claim, Hint, NewJob
from models.session import autocommit, engine, transaction
from tests.support.endings import AGAIN, FAILED, SUCCEEDED, Saying, ending
from tests.support.lifecycle_model import HOUR, LEASE, MAX_LOST, Model, ModelJob
from tests.support.lifecycle_rows import check, check_timelines

QUEUES = ("default",)
WORKER = "default@one:1"
KEPT_LEASE = timedelta(seconds=LEASE)


@dataclass
class Job:
    """One job, what the model says of it, and what its actors know of it."""

    app_id: UUID
    pass_time: Callable[[timedelta], None]
    model: Model = field(default_factory=Model)
    id: UUID = field(default_factory=uuid4)
    hint: Hint = field(init=False)
    claim: Claim | None = None

    def insert(self, run_in: int = 0, expires_in: int | None = None) -> None:
        now = datetime.now(UTC)
        limit = None if expires_in is None else now + timedelta(seconds=expires_in)
        self.hint = Hint(self.id, 0)
        with transaction() as session:
            run_at = now + timedelta(seconds=run_in)
            new = NewJob("text.count", {}, "default", 2, 0, run_at, limit, unique_key="key", id=self.id)
            lifecycle.insert(session, self.app_id, [new])
        self.model.insert([ModelJob(self.id, "default", 2, run_in, expires_in, unique_key="key")])

    def do(self, *names: str) -> None:
        """Bring it to where it shall be."""
        for name in names:
            if name == "stage":
                self.wait(HOUR)
            with transaction() as session:
                answer = DEEDS[name].act(session, self)
            self.agree(name, answer)

    def agree(self, name: str, answer: Any) -> None:
        """The model foretells the same answer; the job's actors learn from it."""
        assert plain(answer) == plain(DEEDS[name].foretell(self.model, self)), name
        job = self.model.jobs[self.id]
        self.hint = Hint(self.id, job.epoch)
        if name == "claim" and answer:
            self.claim = answer[0]
            job.token = answer[0].token

    def wait(self, seconds: int) -> None:
        self.pass_time(timedelta(seconds=seconds))
        self.model.pass_time(seconds)

    @property
    def token(self) -> UUID:
        """Of the attempt that runs, or ran last."""
        return self.claim.token if self.claim else UUID(int=0)


def plain(answer: Any) -> Any:
    """An answer in a form in which both sides give it."""
    return {getattr(item, "id", item) for item in answer} if isinstance(answer, list | set) else answer


def said(saying: Saying) -> "Deed":
    return Deed(
        lambda session, job: lifecycle.record(session, [ending(job.claim, saying)] if job.claim else []),
        lambda model, job: model.record([ending(job.claim, saying)] if job.claim else []),
    )


class Deed(NamedTuple):
    """A transition, in Postgres and in the model. One that skips locked rows waits for nobody."""

    act: Callable[[Session, Job], Any]
    foretell: Callable[[Model, Job], Any]
    skips: bool = False


DEEDS = {
    "stage": Deed(lambda s, j: lifecycle.stage(s, QUEUES, 10), lambda m, j: m.stage(QUEUES), skips=True),
    "dispatch": Deed(lambda s, j: lifecycle.dispatch(s, [j.id], KEPT_LEASE), lambda m, j: m.dispatch([j.id])),
    "withdraw": Deed(lambda s, j: lifecycle.withdraw(s, [j.hint]), lambda m, j: m.withdraw([j.hint])),
    "hand back": Deed(
        lambda s, j: lifecycle.withdraw(s, [j.hint], timedelta(hours=2)), lambda m, j: m.withdraw([j.hint], 2 * HOUR)
    ),
    "claim": Deed(
        lambda s, j: lifecycle.claim(s, [j.hint], WORKER, KEPT_LEASE), lambda m, j: m.claim([j.hint], WORKER)
    ),
    "claimed": Deed(
        lambda s, j: lifecycle.claimed(s, [j.hint], WORKER, KEPT_LEASE), lambda m, j: m.claimed([j.hint], WORKER)
    ),
    "prolong": Deed(lambda s, j: lifecycle.prolong(s, [j.hint], KEPT_LEASE), lambda m, j: m.prolong([j.hint])),
    "succeed": said(SUCCEEDED),
    "fail": said(FAILED),
    "fail unasked": said(replace(FAILED, presumed=True)),
    "try again": said(AGAIN),
    "renew": Deed(
        lambda s, j: lease.renew(s, {j.token: j.id}, KEPT_LEASE), lambda m, j: m.renew({j.token: j.id})
    ),
    "doubt": Deed(
        lambda s, j: lease.save_checkpoint(s, j.id, j.token, {"n": 1}, unsettled=True),
        lambda m, j: m.save_checkpoint(j.token, {"n": 1}, unsettled=True),
    ),
    "abandon": Deed(lambda s, j: lease.abandon(s, [j.id], WORKER), lambda m, j: m.abandon([j.id], WORKER)),
    "rescue": Deed(
        lambda s, j: lifecycle.rescue(s, QUEUES, MAX_LOST, 10), lambda m, j: m.rescue(QUEUES), skips=True
    ),
    "lose": Deed(lambda s, j: lifecycle.lose_messages(s, QUEUES, 10), lambda m, j: m.lose_messages(QUEUES), skips=True),
    "expire": Deed(lambda s, j: lifecycle.expire(s, QUEUES, 10), lambda m, j: m.expire(QUEUES), skips=True),
    "cancel": Deed(lambda s, j: lifecycle.cancel(s, j.app_id, j.id), lambda m, j: m.cancel(j.id)),
    "give way": Deed(lambda s, j: lifecycle.give_way(s, j.app_id, ["key"]), lambda m, j: m.give_way(["key"])),
    "retry": Deed(lambda s, j: lifecycle.retry(s, j.app_id, j.id), lambda m, j: m.retry(j.id)),
}  # fmt: skip


class Situation(NamedTuple):
    """How a job came to where two transitions meet on it."""

    deeds: tuple[str, ...]
    then_wait: int = 0
    run_in: int = 0
    expires_in: int | None = None


LAPSED = LEASE + HOUR
LOST_TWICE = ("dispatch", "claim", "abandon", "rescue", "stage") * 2
SITUATIONS = {
    "scheduled and due": Situation((), 3 * HOUR, run_in=2 * HOUR),
    "scheduled and too late": Situation((), 6 * HOUR, run_in=2 * HOUR, expires_in=5 * HOUR),
    "ready": Situation(()),
    "dispatched": Situation(("dispatch",)),
    "dispatched, its message lost": Situation(("dispatch",), LAPSED),
    "dispatched and too late": Situation(("dispatch",), 6 * HOUR, expires_in=5 * HOUR),
    "running": Situation(("dispatch", "claim")),
    "running, its worker gone": Situation(("dispatch", "claim"), LAPSED),
    "running, its third worker gone": Situation((*LOST_TWICE, "dispatch", "claim"), LAPSED),
    "running unsettled, its worker gone": Situation(("dispatch", "claim", "doubt"), LAPSED),
    "running, asked to stop, its worker gone": Situation(("dispatch", "claim", "cancel"), LAPSED),
    "failed": Situation(("dispatch", "claim", "fail")),
    "cancelled": Situation(("cancel",)),
}


def brought_to(situation: Situation, app_id: UUID, pass_time: Callable[[timedelta], None]) -> Job:
    with transaction() as session:
        for table in ("events", "attempts", "jobs"):
            session.execute(text(f"DELETE FROM {table}"))
    job = Job(app_id, pass_time)
    job.insert(situation.run_in, situation.expires_in)
    job.do(*situation.deeds)
    job.wait(situation.then_wait)
    return job


def applies(name: str, job: Job, after: str | None = None) -> bool:
    """Whether it would do anything to the job as it is, or as another deed would leave it."""
    model = deepcopy(job.model)
    if after is not None:
        DEEDS[after].foretell(model, job)
    before = deepcopy(model.jobs)
    return bool(DEEDS[name].foretell(model, job)) or model.jobs != before


def waits(answer: Future[Any]) -> bool:
    """Look until it has come upon a lock, or is over without."""
    deadline = time.monotonic() + 30
    with autocommit().connect() as connection:
        while not answer.done():
            if connection.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")):
                return True
            assert time.monotonic() < deadline
    return False


def in_its_own_transaction(deed: Deed, job: Job) -> Any:
    with transaction() as session:
        session.execute(text("SET LOCAL lock_timeout = '30s'"))
        return deed.act(session, job)


def meet(job: Job, first: str, second: str, threads: ThreadPoolExecutor, *, commits: bool) -> None:
    """Let the second begin, knowing what it knew before, while the first is not over yet."""
    must_wait = applies(second, job) and not DEEDS[second].skips
    late = copy(job)
    with Session(engine()) as session:
        done = DEEDS[first].act(session, job)
        answer = threads.submit(in_its_own_transaction, DEEDS[second], late)
        assert waits(answer) == must_wait, "whether it waits"
        (session.commit if commits else session.rollback)()
    if commits:
        job.agree(first, done)
    if must_wait:
        late.agree(second, answer.result(10))
    assert must_wait or not answer.result(10), "it answers although it did not wait"
    with transaction() as session:
        check(session, job.model)
        check_timelines(session, job.model)


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.mark.parametrize("situation", SITUATIONS)
def test_whoever_waited_for_another_transition_sees_what_became_of_it(app_id, pass_time, threads, situation):
    job = brought_to(SITUATIONS[situation], app_id, pass_time)
    firsts = [name for name in DEEDS if applies(name, job)]
    pairs = [(a, b) for a in firsts for b in DEEDS if applies(b, job) or applies(b, job, after=a)]
    assert pairs
    for first, second in pairs:
        for commits in (True, False):
            try:
                meet(brought_to(SITUATIONS[situation], app_id, pass_time), first, second, threads, commits=commits)
            except Exception as error:
                error.add_note(f"{situation}: {second!r} began before {first!r} had ended; it commits: {commits}")
                raise

"""Random walks: whatever is tried in whatever order, a job only ever takes a drawn edge and counts its events."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import lease, lifecycle
from models.attempt import Outcome
from models.job import State
from models.lifecycle import Claim, Ending, Hint, NewJob
from models.session import transaction
from tests.support.engine import job_row
from workers.timeline import timeline

S = State
EDGES = {
    (S.SCHEDULED, S.READY), (S.SCHEDULED, S.CANCELLED), (S.SCHEDULED, S.EXPIRED), (S.SCHEDULED, S.PARKED),
    (S.READY, S.DISPATCHED), (S.READY, S.CANCELLED), (S.READY, S.EXPIRED), (S.READY, S.PARKED),
    (S.DISPATCHED, S.PARKED), (S.DISPATCHED, S.RUNNING), (S.DISPATCHED, S.SCHEDULED),
    (S.DISPATCHED, S.READY), (S.DISPATCHED, S.CANCELLED), (S.DISPATCHED, S.EXPIRED),
    (S.RUNNING, S.SUCCEEDED), (S.RUNNING, S.FAILED), (S.RUNNING, S.CANCELLED), (S.RUNNING, S.PARKED),
    (S.RUNNING, S.SCHEDULED), (S.RUNNING, S.READY),
    (S.FAILED, S.READY), (S.CANCELLED, S.READY), (S.EXPIRED, S.READY), (S.PARKED, S.READY),
}  # fmt: skip
QUEUES = ["default"]
LEASE = timedelta(seconds=20)
ENDINGS = [
    (Outcome.SUCCEEDED, S.SUCCEEDED, True), (Outcome.FAILED, S.FAILED, True), (Outcome.FAILED, S.SCHEDULED, True),
    (Outcome.PARKED, S.PARKED, True), (Outcome.CANCELLED, S.CANCELLED, True), (Outcome.SNOOZED, S.SCHEDULED, False),
    (Outcome.RELEASED, S.READY, False),
]  # fmt: skip


class Walker:
    """One job, and every hint and claim that anybody ever had of it: zombies included."""

    def __init__(self, app_id: UUID, pass_time) -> None:
        self.app_id, self.pass_time = app_id, pass_time
        self.hints: list[Hint] = []
        self.claims: list[Claim] = []
        soon = datetime.now(UTC) + timedelta(minutes=30)
        new = NewJob("text.count", {}, "default", 3, expires_at=soon, run_at=datetime.now(UTC) + timedelta(minutes=1))
        with transaction() as session:
            (row,) = lifecycle.insert(session, app_id, [new])
        self.id = row.id

    def step(self, name: str, choice: int) -> None:
        with transaction() as session:
            getattr(self, name)(session, choice)

    def stage(self, session, _):
        lifecycle.stage(session, QUEUES, 10)

    def dispatch(self, session, _):
        self.hints += lifecycle.dispatch(session, [self.id], LEASE).values()

    def withdraw(self, session, choice):
        if self.hints:
            lifecycle.withdraw(session, [self.hints[choice % len(self.hints)]])

    def hand_back(self, session, choice):
        if self.hints:
            lifecycle.withdraw(session, [self.hints[choice % len(self.hints)]], timedelta(seconds=1))

    def prolong(self, session, choice):
        if self.hints:
            lifecycle.prolong(session, [self.hints[choice % len(self.hints)]], LEASE)

    def ask_again(self, session, choice):
        if self.hints:
            self.claims += lifecycle.claimed(session, [self.hints[choice % len(self.hints)]], "w:1", LEASE)

    def claim(self, session, choice):
        if self.hints:
            self.claims += lifecycle.claim(session, [self.hints[choice % len(self.hints)]], "w:1", LEASE)

    def record(self, session, choice):
        if self.claims:
            held = self.claims[choice % len(self.claims)]
            outcome, state, spent = ENDINGS[choice % len(ENDINGS)]
            lifecycle.record(session, [Ending(held.id, held.token, outcome, state, spent=spent)])

    def renew(self, session, choice):
        if self.claims:
            held = self.claims[choice % len(self.claims)]
            lease.renew(session, {held.token: held.id}, LEASE)
            lease.save_progress(session, held.id, held.token, {"fraction": 0.1, "note": ""})

    def doubt(self, session, choice):
        if self.claims:
            held = self.claims[choice % len(self.claims)]
            lease.save_checkpoint(session, held.id, held.token, {"n": choice}, unsettled=choice % 2 == 0)

    def rescue(self, session, _):
        lifecycle.rescue(session, QUEUES, 3, 10)

    def lose(self, session, _):
        lifecycle.lose_messages(session, QUEUES, 10)

    def expire(self, session, _):
        lifecycle.expire(session, QUEUES, 10)

    def cancel(self, session, _):
        lifecycle.cancel(session, self.app_id, self.id)

    def retry(self, session, _):
        lifecycle.retry(session, self.app_id, self.id)

    def wait(self, _session, choice):
        self.pass_time(timedelta(seconds=(5, 60, 600)[choice % 3]))


STEPS = (
    "stage", "dispatch", "dispatch", "withdraw", "claim", "claim", "claim", "record", "record", "renew", "rescue",
    "doubt", "hand_back", "prolong", "ask_again",
    "lose", "expire", "cancel", "retry", "wait", "wait",
)  # fmt: skip


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(walk=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20)), min_size=10, max_size=40))
def test_a_job_only_takes_drawn_edges(app_id, pass_time, walk):
    walker = Walker(app_id, pass_time)
    before = S.SCHEDULED
    for name, choice in walk:
        walker.step(name, choice)
        row = job_row(walker.id)
        after = S(row.state)
        assert before is after or (before, after) in EDGES, name
        assert 0 <= row.attempt <= row.max_attempts + 1
        before = after
    with transaction() as session:
        numbers = [event.seq for event in timeline(session, walker.id, limit=1000)]
    assert numbers == list(range(1, job_row(walker.id).seq + 1))

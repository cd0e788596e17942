"""Every transition, its guard, and random walks that never leave the drawn edges."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError

from models import Attempt, Event, Job, lease, lifecycle
from models.attempt import Outcome
from models.job import ENDED, State
from models.lifecycle import Ending, Hint, NewJob
from models.session import transaction
from tests.support.engine import job_row
from tests.support.processes import eventually

LEASE = timedelta(seconds=20)
QUEUES = ["default"]


def new(**options) -> NewJob:
    return NewJob(**{"kind": "text.count", "params": {"text": "a"}, "queue": "default", "max_attempts": 3, **options})


def insert(app_id, **options):
    with transaction() as session:
        (row,) = lifecycle.insert(session, app_id, [new(**options)])
        return row.id


def dispatch(*ids) -> list[Hint]:
    with transaction() as session:
        return list(lifecycle.dispatch(session, ids, LEASE).values())


def claim(*hints, worker="w:1"):
    with transaction() as session:
        return lifecycle.claim(session, hints, worker, LEASE)


def running(app_id, **options):
    (claimed,) = claim(*dispatch(insert(app_id, **options)))
    return claimed


def record(claimed, outcome=Outcome.SUCCEEDED, state=State.SUCCEEDED, **options):
    with transaction() as session:
        return lifecycle.record(session, [Ending(claimed.id, claimed.token, outcome, state, **options)])


def attempts(job_id):
    with transaction() as session:
        return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.id)).all()


def events(job_id):
    with transaction() as session:
        return [row.type for row in session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.seq))]


def test_a_job_that_is_due_begins_ready_and_one_for_later_scheduled(app_id):
    later = datetime.now(UTC) + timedelta(days=4000)
    past = datetime(2000, 1, 1, tzinfo=UTC)
    assert job_row(insert(app_id)).state == State.READY
    assert job_row(insert(app_id, run_at=later)).state == State.SCHEDULED
    row = job_row(insert(app_id, run_at=past))
    assert row.state == State.READY
    assert row.run_at > past


def test_jobs_come_back_in_the_order_in_which_they_were_given(app_id):
    with transaction() as session:
        rows = lifecycle.insert(session, app_id, [new(priority=n % 3) for n in range(300)])
    assert [row.ordinal for row in rows] == list(range(300))
    assert [row.id for row in rows] == sorted(row.id for row in rows)


def test_staging_makes_ready_what_is_due(app_id, pass_time):
    job = insert(app_id, run_at=datetime.now(UTC) + timedelta(minutes=1))
    with transaction() as session:
        assert lifecycle.stage(session, QUEUES, 10) == 0
    pass_time(timedelta(minutes=2))
    with transaction() as session:
        assert lifecycle.stage(session, QUEUES, 10) == 1
    assert job_row(job).state == State.READY


def test_a_job_is_dispatched_once_per_epoch(app_id):
    job = insert(app_id)
    assert dispatch(job) == [Hint(job, 1)]
    assert dispatch(job) == []


def test_only_the_current_epoch_can_be_claimed(app_id):
    (hint,) = dispatch(insert(app_id))
    assert claim(Hint(hint.id, hint.epoch - 1), Hint(hint.id, hint.epoch + 1)) == []
    assert len(claim(hint)) == 1
    assert claim(hint) == []


def test_a_message_that_arrives_twice_in_one_chunk_is_claimed_once(app_id):
    (hint,) = dispatch(insert(app_id))
    assert len(claim(hint, hint)) == 1


def test_claims_come_in_the_order_of_the_hints(app_id):
    ids = [insert(app_id) for _ in range(5)]
    hints = sorted(dispatch(*ids), key=lambda hint: hint.id.int % 7)
    assert [claimed.id for claimed in claim(*hints)] == [hint.id for hint in hints]


def test_a_cancelled_job_cannot_be_claimed(app_id):
    (hint,) = dispatch(insert(app_id))
    with transaction() as session:
        assert lifecycle.cancel(session, app_id, hint.id) is State.CANCELLED
    assert claim(hint) == []
    assert events(hint.id) == ["cancelled"]


def test_a_job_that_expired_in_redis_cannot_be_claimed(app_id, pass_time):
    (hint,) = dispatch(insert(app_id, expires_at=datetime.now(UTC) + timedelta(seconds=30)))
    pass_time(timedelta(minutes=1))
    assert claim(hint) == []


def test_withdrawing_voids_the_message(app_id):
    hints = dispatch(insert(app_id))
    with transaction() as session:
        assert lifecycle.withdraw(session, hints) == 1
        assert lifecycle.withdraw(session, hints) == 0
    assert claim(*hints) == []
    assert job_row(hints[0].id).state == State.READY


def test_a_message_that_is_void_withdraws_nothing(app_id):
    job = insert(app_id)
    void = dispatch(job)
    with transaction() as session:
        assert lifecycle.withdraw(session, void) == 1
    current = dispatch(job)
    with transaction() as session:
        assert lifecycle.withdraw(session, void) == 0
    assert [claimed.id for claimed in claim(*current)] == [job]


def test_what_a_worker_cannot_use_is_due_again_a_little_later(app_id, pass_time):
    hints = dispatch(insert(app_id))
    with transaction() as session:
        assert lifecycle.withdraw(session, hints, timedelta(seconds=1)) == 1
    row = job_row(hints[0].id)
    assert (row.state, row.attempt, row.seq) == ("scheduled", 0, 1)
    with transaction() as session:
        assert lifecycle.stage(session, ["default"], 10) == 0
    pass_time(timedelta(seconds=2))
    with transaction() as session:
        assert lifecycle.stage(session, ["default"], 10) == 1
    assert claim(*hints) == []


def test_recording_success_ends_the_job_and_writes_its_attempt(app_id):
    claimed = running(app_id)
    assert record(claimed, result={"n": 1}) == {claimed.id}
    row = job_row(claimed.id)
    assert (row.state, row.result, row.attempt, row.lease_token) == (State.SUCCEEDED, {"n": 1}, 1, None)
    (attempt,) = attempts(claimed.id)
    assert (attempt.id, attempt.number, attempt.outcome, attempt.worker) == (claimed.token, 1, "succeeded", "w:1")
    assert (attempt.started_seq, attempt.finished_seq, row.seq) == (2, 3, 3)


def test_an_attempt_that_lost_its_job_cannot_end_it(app_id, pass_time):
    zombie = running(app_id)
    pass_time(timedelta(minutes=1))
    with transaction() as session:
        assert lifecycle.rescue(session, QUEUES, 3, 10) == [zombie.id]
        lifecycle.stage(session, QUEUES, 10)
    (second,) = claim(*dispatch(zombie.id))
    assert record(zombie, result={"by": "zombie"}) == set()
    assert record(second, result={"by": "second"}) == {second.id}
    assert record(zombie, result={"by": "zombie"}) == set()
    assert job_row(zombie.id).result == {"by": "second"}
    assert [attempt.outcome for attempt in attempts(zombie.id)] == ["lost", "succeeded"]


def test_a_zombie_cannot_write_progress_or_checkpoint_or_renew(app_id):
    claimed = running(app_id)
    with transaction() as session:
        assert not lease.save_progress(session, claimed.id, uuid4(), {"fraction": 1})
        assert not lease.save_checkpoint(session, claimed.id, uuid4(), {"page": 9})
        assert lease.renew(session, {uuid4(): claimed.id}, LEASE) == {}
    row = job_row(claimed.id)
    assert (row.progress, row.checkpoint) == (None, None)


def test_a_retry_is_scheduled_and_keeps_its_error(app_id):
    claimed = running(app_id)
    record(claimed, Outcome.FAILED, State.SCHEDULED, error={"code": "busy"}, delay=60)
    row = job_row(claimed.id)
    assert (row.state, row.error, row.attempt) == (State.SCHEDULED, {"code": "busy"}, 1)
    (attempt,) = attempts(claimed.id)
    assert attempt.next_at == row.run_at
    assert timedelta(seconds=59) < row.run_at - attempt.finished_at <= timedelta(seconds=61)


def test_a_snooze_gives_its_attempt_back(app_id):
    claimed = running(app_id)
    record(claimed, Outcome.SNOOZED, State.SCHEDULED, delay=5, spent=False)
    assert job_row(claimed.id).attempt == 0
    assert attempts(claimed.id)[0].number == 1


def test_a_retry_of_a_job_that_is_to_be_cancelled_cancels_it(app_id):
    claimed = running(app_id)
    with transaction() as session:
        assert lifecycle.cancel(session, app_id, claimed.id) is State.RUNNING
    record(claimed, Outcome.FAILED, State.SCHEDULED, error={"code": "busy"}, delay=60)
    row = job_row(claimed.id)
    assert row.state == State.CANCELLED
    assert row.finished_at is not None
    assert attempts(claimed.id)[0].next_at is None
    assert events(claimed.id) == ["cancel_requested"]


def test_a_cancel_that_commits_while_its_attempt_is_being_recorded_is_not_forgotten(app_id):
    claimed = running(app_id)
    with ThreadPoolExecutor() as threads:
        with transaction() as session:
            lifecycle.cancel(session, app_id, claimed.id)
            recording = threads.submit(record, claimed, Outcome.FAILED, State.SCHEDULED, delay=60)
            eventually(someone_waits_for_a_lock)
        assert recording.result(10) == {claimed.id}
    assert job_row(claimed.id).state == State.CANCELLED


def someone_waits_for_a_lock() -> bool:
    with transaction() as session:
        return bool(session.scalar(text("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")))


def test_success_stands_although_someone_asked_to_cancel(app_id):
    claimed = running(app_id)
    with transaction() as session:
        lifecycle.cancel(session, app_id, claimed.id)
    record(claimed, result={})
    assert job_row(claimed.id).state == State.SUCCEEDED


def test_renewing_tells_of_a_wish_to_cancel(app_id):
    claimed = running(app_id)
    with transaction() as session:
        assert lease.renew(session, {claimed.token: claimed.id}, LEASE) == {claimed.token: False}
        lifecycle.cancel(session, app_id, claimed.id)
        assert lease.renew(session, {claimed.token: claimed.id}, LEASE) == {claimed.token: True}


def test_a_renewed_lease_is_not_rescued(app_id, pass_time):
    claimed = running(app_id)
    pass_time(timedelta(seconds=30))
    with transaction() as session:
        assert claimed.token in lease.renew(session, {claimed.token: claimed.id}, LEASE)
        assert lifecycle.rescue(session, QUEUES, 3, 10) == []


def test_losing_workers_spends_no_attempt_until_there_were_too_many(app_id, pass_time):
    job = insert(app_id)
    for lost in (1, 2, 3):
        claim(*dispatch(job))
        pass_time(timedelta(minutes=5))
        with transaction() as session:
            assert lifecycle.rescue(session, QUEUES, 3, 10) == [job]
            lifecycle.stage(session, QUEUES, 10)
        row = job_row(job)
        assert (row.lost, row.attempt) == (lost, 0)
        pass_time(timedelta(minutes=5))
        with transaction() as session:
            lifecycle.stage(session, QUEUES, 10)
    row = job_row(job)
    assert (row.state, row.error["code"], row.error["retryable"]) == (State.FAILED, "worker_lost", False)
    assert [attempt.outcome for attempt in attempts(job)] == ["lost", "lost", "lost"]


def test_a_rescued_job_that_was_to_be_cancelled_is_cancelled(app_id, pass_time):
    claimed = running(app_id)
    with transaction() as session:
        lifecycle.cancel(session, app_id, claimed.id)
    pass_time(timedelta(minutes=1))
    with transaction() as session:
        lifecycle.rescue(session, QUEUES, 3, 10)
    assert job_row(claimed.id).state == State.CANCELLED


def test_an_abandoned_job_is_rescued_at_once_but_only_its_own_workers(app_id):
    mine, other = running(app_id), running(app_id)
    with transaction() as session:
        lease.abandon(session, [mine.id, other.id], "another:1")
        assert lifecycle.rescue(session, QUEUES, 3, 10) == []
        lease.abandon(session, [mine.id], "w:1")
    with transaction() as session:
        assert lifecycle.rescue(session, QUEUES, 3, 10) == [mine.id]


def test_a_message_nobody_claims_in_time_is_lost_and_its_job_ready_again(app_id, pass_time):
    (hint,) = dispatch(insert(app_id))
    with transaction() as session:
        assert lifecycle.lose_messages(session, QUEUES, 10) == 0
    pass_time(timedelta(minutes=1))
    with transaction() as session:
        assert lifecycle.lose_messages(session, QUEUES, 10) == 1
    assert job_row(hint.id).state == State.READY
    assert events(hint.id) == ["message_lost"]
    assert claim(hint) == []


def test_after_a_wipe_messages_need_not_wait_for_their_lease(app_id):
    dispatch(insert(app_id))
    with transaction() as session:
        assert lifecycle.lose_messages(session, QUEUES, 10, early=2 * LEASE) == 1


@pytest.mark.parametrize("verb", [lifecycle.stage, lifecycle.expire, lifecycle.lose_messages])
def test_a_limit_is_kept_whatever_plan_postgres_takes(app_id, pass_time, verb):
    soon = datetime.now(UTC) + timedelta(minutes=1)
    later = {"run_at": soon} if verb is lifecycle.stage else {"expires_at": soon} if verb is lifecycle.expire else {}
    for _ in range(5):
        job = insert(app_id, **later)
        if verb is lifecycle.lose_messages:
            dispatch(job)
    pass_time(timedelta(minutes=2))
    counts = []
    for _ in range(3):
        with transaction() as session:
            done = verb(session, QUEUES, limit=2)
            counts.append(done if isinstance(done, int) else len(done))
    assert counts == [2, 2, 1]


@pytest.mark.parametrize(("limit", "code"), [("expires_at", "expired"), ("deadline_at", "deadline_exceeded")])
def test_what_is_too_late_to_start_expires(app_id, pass_time, limit, code):
    soon = datetime.now(UTC) + timedelta(minutes=1)
    waiting, dispatched = insert(app_id, **{limit: soon}), insert(app_id, **{limit: soon})
    dispatch(dispatched)
    pass_time(timedelta(minutes=2))
    with transaction() as session:
        assert set(lifecycle.expire(session, QUEUES, 10)) == {waiting, dispatched}
    row = job_row(waiting)
    assert (row.state, row.error["code"]) == (State.EXPIRED, code)
    assert events(waiting) == ["expired"]


def test_a_running_job_does_not_expire(app_id, pass_time):
    claimed = running(app_id, expires_at=datetime.now(UTC) + timedelta(minutes=1))
    pass_time(timedelta(minutes=2))
    with transaction() as session:
        assert lifecycle.expire(session, QUEUES, 10) == []
    assert job_row(claimed.id).state == State.RUNNING


def test_a_claim_tells_how_long_the_deadline_leaves(app_id):
    claimed = running(app_id, deadline_at=datetime.now(UTC) + timedelta(minutes=1))
    assert timedelta(seconds=50) < claimed.deadline_in <= timedelta(minutes=1)


def test_an_ended_job_can_be_retried_with_everything_anew(app_id):
    claimed = running(app_id)
    record(claimed, Outcome.FAILED, State.FAILED, error={"code": "x"})
    with transaction() as session:
        assert lifecycle.retry(session, app_id, claimed.id) == "default"
        assert lifecycle.retry(session, app_id, claimed.id) is None
    row = job_row(claimed.id)
    assert (row.state, row.attempt, row.error, row.finished_at) == (State.READY, 0, None, None)
    assert events(claimed.id) == ["retried"]


@pytest.mark.parametrize(("passed", "kept"), [("expires_at", "deadline_at"), ("deadline_at", "expires_at")])
def test_a_retry_keeps_a_time_limit_until_it_has_passed(app_id, pass_time, passed, kept):
    now = datetime.now(UTC)
    claimed = running(app_id, **{passed: now + timedelta(minutes=1), kept: now + timedelta(hours=1)})
    record(claimed, Outcome.FAILED, State.FAILED, error={"code": "x"})
    pass_time(timedelta(minutes=2))
    with transaction() as session:
        assert lifecycle.retry(session, app_id, claimed.id) == "default"
    row = job_row(claimed.id)
    assert getattr(row, passed) is None
    assert getattr(row, kept) == now + timedelta(hours=1) - timedelta(minutes=2)


def test_success_cannot_be_retried_and_ended_jobs_cannot_be_cancelled(app_id):
    claimed = running(app_id)
    record(claimed)
    with transaction() as session:
        assert lifecycle.retry(session, app_id, claimed.id) is None
        assert lifecycle.cancel(session, app_id, claimed.id) is None


def test_another_apps_job_can_be_neither_cancelled_nor_retried(app_id):
    job = insert(app_id)
    with transaction() as session:
        assert lifecycle.cancel(session, uuid4(), job) is None
        assert lifecycle.retry(session, uuid4(), job) is None


def test_one_live_job_per_unique_key(app_id):
    with transaction() as session:
        rows = lifecycle.insert(session, app_id, [new(unique_key="k"), new(unique_key="k"), new()])
    assert [row.ordinal for row in rows] == [0, 2]
    (claimed,) = claim(*dispatch(rows[0].id))
    record(claimed)
    with transaction() as session:
        assert len(lifecycle.insert(session, app_id, [new(unique_key="k")])) == 1


@pytest.mark.parametrize(
    "columns",
    [
        {"state": "limbo"},
        {"state": "running"},
        {"state": "succeeded"},
        {"state": "dispatched"},
        {"attempt": -1},
        {"max_attempts": 0},
    ],
)
def test_the_table_itself_refuses_rows_that_contradict_themselves(app_id, columns):
    job = insert(app_id)
    with pytest.raises(IntegrityError), transaction() as session:
        session.query(Job).filter(Job.id == job).update(columns)


def test_every_event_has_its_number(app_id, pass_time):
    claimed = running(app_id)
    with transaction() as session:
        lease.save_progress(session, claimed.id, claimed.token, {"fraction": 0.5, "note": ""})
    record(claimed, Outcome.FAILED, State.FAILED, error={"code": "x"})
    with transaction() as session:
        lifecycle.retry(session, app_id, claimed.id)
        numbered = session.scalar(select(func.count()).where(Event.job_id == claimed.id))
    # created, started, progress, finished, retried
    assert (job_row(claimed.id).seq, numbered) == (5, 2)
    assert set(ENDED) == {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.PARKED}


def unsettled(app_id, **options):
    claimed = running(app_id, **options)
    with transaction() as session:
        assert lease.save_checkpoint(session, claimed.id, claimed.token, {"step": "confirm"}, unsettled=True)
    return claimed


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_an_unsettled_job_is_parked_where_the_engine_would_have_ended_it(app_id, state):
    claimed = unsettled(app_id)
    record(claimed, Outcome.FAILED, state, presumed=True)
    assert job_row(claimed.id).state == State.PARKED


def test_but_its_handlers_own_word_counts(app_id):
    claimed = unsettled(app_id)
    record(claimed, Outcome.FAILED, State.FAILED, error={"code": "card_declined"})
    assert job_row(claimed.id).state == State.FAILED


def test_an_unsettled_job_that_waits_is_parked_when_it_is_cancelled_or_too_late(app_id, pass_time):
    cancelled = unsettled(app_id)
    late = unsettled(app_id, expires_at=datetime.now(UTC) + timedelta(minutes=1))
    for claimed in (cancelled, late):
        record(claimed, Outcome.FAILED, State.SCHEDULED, delay=3600)
    with transaction() as session:
        assert lifecycle.cancel(session, app_id, cancelled.id) is State.PARKED
    pass_time(timedelta(minutes=2))
    with transaction() as session:
        assert lifecycle.expire(session, QUEUES, 10) == [late.id]
    assert job_row(late.id).state == State.PARKED


def test_an_unsettled_job_that_loses_its_workers_is_parked_in_the_end(app_id, pass_time):
    claimed = unsettled(app_id)
    pass_time(timedelta(minutes=1))
    with transaction() as session:
        lifecycle.rescue(session, QUEUES, 1, 10)
    assert job_row(claimed.id).state == State.PARKED


def test_a_settled_checkpoint_ends_the_doubt(app_id):
    claimed = unsettled(app_id)
    with transaction() as session:
        lease.save_checkpoint(session, claimed.id, claimed.token, {"step": "done"})
    record(claimed, Outcome.FAILED, State.FAILED, presumed=True)
    assert job_row(claimed.id).state == State.FAILED


def test_an_attempt_that_comes_to_an_end_clears_the_job_of_killing_workers(app_id, pass_time):
    job = insert(app_id)
    claim(*dispatch(job))
    pass_time(timedelta(minutes=5))
    with transaction() as session:
        lifecycle.rescue(session, QUEUES, 3, 10)
        lifecycle.stage(session, QUEUES, 10)
    (handed_back,) = claim(*dispatch(job))
    record(handed_back, Outcome.RELEASED, State.READY, spent=False)
    assert job_row(job).lost == 1
    (snoozed,) = claim(*dispatch(job))
    record(snoozed, Outcome.SNOOZED, State.SCHEDULED, delay=1, spent=False)
    assert job_row(job).lost == 0


def test_a_parked_job_says_why_also_when_it_was_cancelled_before_anything_failed(app_id):
    claimed = unsettled(app_id)
    with transaction() as session:
        lifecycle.record(session, [Ending(claimed.id, claimed.token, Outcome.RELEASED, State.READY, spent=False)])
    with transaction() as session:
        lifecycle.cancel(session, app_id, claimed.id)
    job = job_row(claimed.id)
    assert (job.state, job.error["code"]) == ("parked", "outcome_unknown")


@pytest.mark.parametrize("lost", [True, False])
def test_a_job_that_was_taken_back_keeps_its_place_before_those_that_came_after_it(app_id, lost):
    claimed = running(app_id)
    place = job_row(claimed.id).run_at
    if lost:
        with transaction() as session:
            lease.abandon(session, [claimed.id], "w:1")
        with transaction() as session:
            assert lifecycle.rescue(session, ["default"], 3, 10) == [claimed.id]
    else:
        record(claimed, Outcome.RELEASED, State.READY, spent=False)
    row = job_row(claimed.id)
    assert row.state in ("ready", "scheduled")
    assert row.run_at == place

"""The verbs: enqueue, cancel, retry, and unique keys."""

from uuid import uuid4

import pytest

from models.session import transaction
from tests.support.engine import enqueue as enqueue_one
from tests.support.engine import job_row
from workers import queue
from workers.queue import Conflict, Enqueued, NewJob


def enqueue(app_id, *jobs):
    with transaction() as session:
        return queue.enqueue(session, app_id, jobs)


def new(**options) -> NewJob:
    return NewJob(**{"kind": "text.count", "params": {"text": "a"}, "queue": "default", "max_attempts": 3, **options})


def test_a_second_live_job_with_the_same_unique_key_is_refused_with_the_first_ones_id(app_id):
    (first,) = enqueue(app_id, new(unique_key="k"))
    assert enqueue(app_id, new(unique_key="k")) == [Conflict(first.id, existing=False)]


def test_or_the_first_one_is_returned_if_asked_for(app_id):
    (first,) = enqueue(app_id, new(unique_key="k"))
    again = enqueue(app_id, new(unique_key="k", on_conflict="return_existing"))
    assert again == [Conflict(first.id, existing=True)]


def test_or_it_is_replaced_while_it_waits(app_id):
    (first,) = enqueue(app_id, new(unique_key="k"))
    (second,) = enqueue(app_id, new(unique_key="k", on_conflict="replace"))
    assert isinstance(second, Enqueued)
    assert job_row(first.id).state == "cancelled"


def test_a_running_job_is_not_replaced_but_asked_to_stop(app_id, engine, declare):
    answers = []

    def perform(params, context):
        answers.extend(enqueue(app_id, new(unique_key="k", on_conflict="replace")))

    declare("test.running", perform)
    job = enqueue_one(app_id, "test.running", unique_key="k")
    engine.drain()
    assert answers == [Conflict(job, existing=False)]
    assert job_row(job).cancel_requested_at is not None


def test_many_jobs_keep_their_order_around_conflicts(app_id):
    answers = enqueue(app_id, new(unique_key="a"), new(unique_key="a"), new(), new(unique_key="b"))
    assert [type(answer) for answer in answers] == [Enqueued, Conflict, Enqueued, Enqueued]


def test_cancelling_twice_is_the_same_as_once(app_id, engine, declare):
    states = []

    def perform(params, context):
        with transaction() as session:
            states.append(queue.cancel(session, app_id, context.job_id))
            states.append(queue.cancel(session, app_id, context.job_id))

    declare("test.cancel", perform)
    enqueue_one(app_id, "test.cancel")
    engine.drain()
    assert states == ["running", "running"]


def test_what_has_ended_cannot_be_cancelled_and_what_succeeded_cannot_be_retried(app_id, drain):
    job = enqueue_one(app_id, "text.count", {"text": "a"})
    drain()
    with transaction() as session:
        with pytest.raises(queue.JobEnded, match="succeeded"):
            queue.cancel(session, app_id, job)
        with pytest.raises(queue.NotRetryable, match="succeeded"):
            queue.retry(session, app_id, job)


@pytest.mark.parametrize("verb", [queue.cancel, queue.retry])
def test_a_job_that_is_not_there_is_said_to_be_not_there(app_id, verb):
    with transaction() as session, pytest.raises(queue.JobNotFound):
        verb(session, app_id, uuid4())


def test_a_failed_job_runs_again_after_a_retry(app_id, drain):
    job = enqueue_one(app_id, "text.count", {"text": " "})
    drain()
    with transaction() as session:
        assert queue.retry(session, app_id, job) == "default"
    drain()
    assert (job_row(job).state, job_row(job).attempt) == ("failed", 1)


def test_a_job_whose_unique_key_is_taken_cannot_be_retried(app_id, drain):
    job = enqueue_one(app_id, "text.count", {"text": " "}, unique_key="k")
    drain()
    enqueue_one(app_id, "text.count", {"text": "a"}, unique_key="k")
    with transaction() as session, pytest.raises(queue.UniqueKeyTaken):
        queue.retry(session, app_id, job)
    assert job_row(job).state == "failed"

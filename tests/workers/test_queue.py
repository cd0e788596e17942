"""The verbs: enqueue, cancel, retry, and unique keys."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from uuid import uuid4

import pytest
from sqlalchemy import event

from models.session import engine as this_engine
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


def test_a_running_job_is_neither_replaced_nor_asked_to_stop(app_id, engine, declare):
    answers = []

    def perform(params, context):
        answers.extend(enqueue(app_id, new(unique_key="k", on_conflict="replace")))

    declare("test.running", perform)
    job = enqueue_one(app_id, "test.running", unique_key="k")
    engine.drain()
    assert answers == [Conflict(job, existing=False)]
    assert (job_row(job).state, job_row(job).cancel_requested_at) == ("succeeded", None)


def test_of_two_that_would_replace_each_other_in_one_request_the_first_is_accepted(app_id):
    first, second = enqueue(app_id, *[new(unique_key="k", on_conflict="replace")] * 2)
    assert second == Conflict(first.id, existing=False)
    assert job_row(first.id).state == "ready"


def test_a_hot_unique_key_gives_every_submit_its_answer(app_id):
    def submit(number):
        conflict = ("reject", "return_existing", "replace")[number % 3]
        (answer,) = enqueue(app_id, new(unique_key=f"k{number % 4}", on_conflict=conflict))
        if isinstance(answer, Enqueued):
            cancel_if_live(app_id, answer.id)
        return answer

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(type(answer) for answer in threads.map(submit, range(600)))
    assert answers.total() == 600
    assert set(answers) == {Enqueued, Conflict}


def cancel_if_live(app_id, job):
    with transaction() as session:
        try:
            queue.cancel(session, app_id, job)
        except queue.JobEnded:
            return


def test_one_that_took_the_key_meanwhile_gives_way_too_while_it_waits(app_id):
    (holder,) = enqueue(app_id, new(unique_key="k"))
    meanwhile = []

    def follow():
        if not meanwhile:
            meanwhile.extend(enqueue(app_id, new(unique_key="k")))

    with transaction() as session:
        queue.cancel(session, app_id, holder.id)
    with whenever("unique_key = ANY", follow):
        (answer,) = enqueue(app_id, new(unique_key="k", on_conflict="replace"))
    assert isinstance(answer, Enqueued)
    assert job_row(meanwhile[0].id).state == "cancelled"


def test_a_key_that_changes_hands_all_the_time_is_taken(app_id):
    """Each holder ends between the insert that met it and the look for it."""
    (holder,) = enqueue(app_id, new(unique_key="k"))
    holders = [holder]

    def end():
        cancel_if_live(app_id, holders[-1].id)

    def follow():
        holders.extend(enqueue(app_id, new(unique_key="k")))

    with whenever("INSERT INTO jobs", end), whenever("jobs.unique_key =", follow):
        (answer,) = enqueue(app_id, new(unique_key="k"))
    assert answer == Conflict(None, existing=False)
    assert all(isinstance(each, Enqueued) for each in holders)


@pytest.mark.parametrize("on_conflict", ["reject", "replace"])
def test_parallel_requests_with_the_same_keys_in_opposite_orders_do_not_lock_each_other_up(app_id, on_conflict):
    at_once = Barrier(2)

    def submit(keys):
        at_once.wait(10)
        return enqueue(app_id, *(new(unique_key=key, on_conflict=on_conflict) for key in keys))

    with ThreadPoolExecutor(2) as threads:
        for turn in range(4):
            keys = [f"{turn // 2}-{number:04}" for number in range(400)]
            one, other = threads.map(submit, (keys, keys[::-1]))
            assert len(one) == len(other) == 400


@contextmanager
def whenever(fragment, act):
    """Do `act` right after each statement that holds `fragment`, but for those that it makes itself."""
    acting = []

    def after(connection, cursor, statement, *_):
        if fragment in statement and not acting:
            acting.append(True)
            act()
            acting.clear()

    event.listen(this_engine(), "after_cursor_execute", after)
    try:
        yield
    finally:
        event.remove(this_engine(), "after_cursor_execute", after)


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


def test_a_job_that_is_retried_while_someone_cancels_it_is_cancelled(app_id, drain):
    job = enqueue_one(app_id, "text.count", {"text": " "})
    drain()
    retried = []

    def retry():
        if not retried:
            with transaction() as session:
                retried.append(queue.retry(session, app_id, job))

    with whenever("cancel_requested_at = now()", retry), transaction() as session:
        assert queue.cancel(session, app_id, job) == "cancelled"
    assert job_row(job).state == "cancelled"


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

"""A job's timeline, put together from its row, its attempts and its events."""

from datetime import timedelta
from uuid import uuid4

from models.session import transaction
from tasks import Retry
from tests.support.engine import enqueue
from workers.queue import cancel
from workers.timeline import timeline


def types(job_id, **options):
    with transaction() as session:
        return [(event.seq, event.type) for event in timeline(session, job_id, **options)]


def test_a_jobs_whole_story_is_told_in_order(app_id, engine, pass_time, declare):
    def perform(params, context):
        if context.attempt == 1:
            raise Retry("busy")

    declare("test.story", perform)
    job = enqueue(app_id, "test.story")
    engine.drain()
    pass_time(timedelta(hours=2))
    engine.drain()
    assert types(job) == [
        (1, "created"),
        (2, "attempt_started"),
        (3, "attempt_finished"),
        (4, "attempt_started"),
        (5, "attempt_finished"),
    ]
    assert types(job, after_seq=3) == [(4, "attempt_started"), (5, "attempt_finished")]
    assert types(job, after_seq=2, limit=1) == [(3, "attempt_finished")]


def test_the_running_attempt_is_part_of_it(app_id, engine, declare):
    seen = []
    declare("test.now", lambda params, context: seen.extend(types(context.job_id)))
    enqueue(app_id, "test.now")
    engine.drain()
    assert seen == [(1, "created"), (2, "attempt_started")]


def test_an_end_tells_outcome_error_and_what_is_next(app_id, engine, declare):
    def perform(params, context):
        raise Retry("busy", "come back later")

    declare("test.busy", perform)
    job = enqueue(app_id, "test.busy")
    engine.drain()
    with transaction() as session:
        data = timeline(session, job)[-1].data
    assert (data["attempt"], data["outcome"], data["error"]["message"]) == (1, "failed", "come back later")
    assert data["next_at"].endswith("Z")


def test_stored_events_stand_in_their_place(app_id):
    job = enqueue(app_id, "text.count", {"text": "a"})
    with transaction() as session:
        cancel(session, app_id, job)
    assert types(job) == [(1, "created"), (2, "cancelled")]


def test_a_job_that_is_not_there_has_no_story(database):
    assert types(uuid4()) == []

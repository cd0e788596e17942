"""Planted in attempts and events: two at once, too many, in the wrong order, by those who had lost their job."""

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from models import lifecycle
from tests.chaos.planted.scene import plants
from tests.chaos.story import claimed, claimed_again, success
from tests.support.engine import QUEUES


@plants("jobs run by two attempts at once, both recorded")
def two_attempts_overlap(scene):
    return scene.sql(
        "UPDATE attempts SET started_at = started_at - interval '1 hour' WHERE job_id = :job AND outcome = 'succeeded'",
        scene.story["flaky"],
    )


@plants("jobs run by two attempts at once, both recorded")
def a_success_has_no_attempt(scene):
    return scene.sql("UPDATE attempts SET outcome = 'failed' WHERE job_id = :job", scene.story["quick"])


@plants("jobs run by two attempts at once, both recorded")
def an_attempt_ends_twice(scene):
    claim = claimed(scene.session, scene.story.app_id)
    lifecycle.record(scene.session, [success(claim)])
    scene.sql(
        "UPDATE jobs SET state = 'running', lease_token = :token, lease_expires_at = now(), finished_at = NULL"
        " WHERE id = :job", claim.id, token=claim.token,
    )  # fmt: skip
    return scene.sql(
        "UPDATE jobs SET state = 'succeeded', lease_token = NULL, lease_expires_at = NULL, finished_at = now()"
        " WHERE id = :job", claim.id,
    )  # fmt: skip


@plants("endings written by an attempt that had lost its lease")
def a_zombie_ends_the_job_of_another(scene):
    zombie = claimed(scene.session, scene.story.app_id)
    scene.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :job", zombie.id)
    lifecycle.rescue(scene.session, QUEUES, 3, 10)
    claimed_again(scene.session, zombie.id)
    scene.session.execute(_unfenced_record(), {"endings": [lifecycle._fields(success(zombie))]})
    return zombie.id


def _unfenced_record() -> TextClause:
    """Without the fence, and without the primary key's, which knows the attempt as lost already."""
    sql = lifecycle._RECORD.text
    for guarded, unguarded in (
        ("AND jobs.lease_token = ending.token", ""),
        ("RETURNING job_id", "ON CONFLICT DO NOTHING RETURNING job_id"),
    ):
        assert sql.count(guarded) == 1
        sql = sql.replace(guarded, unguarded)
    return text(sql).bindparams(bindparam("endings", type_=JSONB))


@plants("endings written by an attempt that had lost its lease")
def a_result_is_anothers(scene):
    return scene.sql(
        """UPDATE jobs SET result = '{"token": "00000000-0000-0000-0000-000000000000"}' WHERE id = :job""",
        scene.story["effect"],
    )


@plants("endings written by an attempt that had lost its lease")
def another_attempt_is_recorded(scene):
    return scene.sql("UPDATE attempts SET id = uuidv7() WHERE job_id = :job", scene.story["paid"])


@plants("attempts above the maximum")
def an_attempt_too_many(scene):
    return scene.sql("UPDATE jobs SET max_attempts = 1 WHERE id = :job", scene.story["flaky"])


@plants("attempts above the maximum")
def an_attempt_is_numbered_too_high(scene):
    return scene.sql("UPDATE attempts SET number = 51 WHERE job_id = :job", scene.story["quick"])


@plants("parents with other than their children")
def a_child_is_gone(scene):
    scene.sql("DELETE FROM jobs WHERE id = (SELECT id FROM jobs WHERE parent_id = :job LIMIT 1)", scene.story["parent"])
    return scene.story["parent"]


@plants("parents with other than their children")
def a_child_of_a_failed_parent(scene):
    scene.sql("UPDATE jobs SET parent_id = :job WHERE id = :child", scene.story["fail"], child=scene.story["quick"])
    return scene.story["fail"]


@plants("jobs with missing or doubled events")
def an_attempt_is_gone(scene):
    return scene.sql("DELETE FROM attempts WHERE job_id = :job", scene.story["quick"])


@plants("jobs with missing or doubled events")
def an_event_is_doubled(scene):
    return scene.sql("INSERT INTO events (job_id, seq, type) VALUES (:job, 2, 'progress')", scene.story["quick"])


@plants("jobs with missing or doubled events")
def an_event_outlives_its_job(scene):
    return scene.sql("DELETE FROM jobs WHERE id = :job", scene.story["late"])


@plants("events out of order")
def two_attempts_interleave(scene):
    scene.sql("UPDATE attempts SET finished_seq = 4 WHERE job_id = :job AND outcome = 'failed'", scene.story["flaky"])
    return scene.sql(
        "UPDATE attempts SET started_seq = 3 WHERE job_id = :job AND outcome = 'succeeded'", scene.story["flaky"]
    )


@plants("events out of order")
def a_zombie_notes_its_progress(scene):
    scene.sql("UPDATE attempts SET finished_seq = 3 WHERE job_id = :job AND outcome = 'lost'", scene.story["orphaned"])
    return scene.sql("UPDATE events SET seq = 4 WHERE job_id = :job", scene.story["orphaned"])

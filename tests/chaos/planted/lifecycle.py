"""Planted in the lifecycle: ways that are not drawn, and leases that nobody looked after."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

from sqlalchemy import text

from models import lifecycle
from tests.chaos.planted.scene import plants
from tests.chaos.story import claimed, success
from tests.support.engine import QUEUES


@plants("edges that are not drawn")
def a_success_is_cancelled(scene):
    return scene.sql("UPDATE jobs SET state = 'cancelled' WHERE id = :job", scene.story["quick"])


@plants("edges that are not drawn")
def a_running_job_changes_hands(scene):
    claim = claimed(scene.session, scene.story.app_id)
    return scene.sql("UPDATE jobs SET lease_token = uuidv7() WHERE id = :job", claim.id)


@plants("edges that are not drawn")
def a_job_is_born_ended(scene):
    return scene.sql(
        "INSERT INTO jobs (id, app_id, kind, queue, params, state, max_attempts, finished_at)"
        " SELECT :job, app_id, kind, queue, params, state, max_attempts, finished_at FROM jobs WHERE state = 'failed'"
        " LIMIT 1",
        uuid4(),
    )


@plants("changes that the audit has missed")
def a_change_goes_unseen(scene):
    scene.connection.execute(text("ALTER TABLE jobs DISABLE TRIGGER chaos_changed"))
    return scene.sql("UPDATE jobs SET state = 'cancelled' WHERE id = :job", scene.story["fail"])


@plants("changes that the audit has missed")
def a_change_in_the_middle_goes_unseen(scene):
    return scene.sql("DELETE FROM chaos_audit WHERE job_id = :job AND new_state = 'running'", scene.story["quick"])


@plants("ended jobs that went on unasked")
def a_failed_job_goes_on(scene):
    return scene.sql("UPDATE jobs SET state = 'ready', finished_at = NULL WHERE id = :job", scene.story["fail"])


@plants("dispatches that were claimed twice")
def a_claim_is_unguarded(scene):
    claim = claimed(scene.session, scene.story.app_id)
    return scene.sql("UPDATE jobs SET lease_token = uuidv7(), attempt = attempt + 1 WHERE id = :job", claim.id)


@plants("leases held by the dead")
def a_dead_worker_holds_a_job(scene):
    claim = claimed(scene.session, scene.story.app_id)
    return scene.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = :job", claim.id)


@plants("leases held by the dead")
def a_dead_worker_is_found_late(scene):
    claim = claimed(scene.session, scene.story.app_id)
    scene.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 minute' WHERE id = :job", claim.id)
    lifecycle.rescue(scene.session, QUEUES, 3, 10)
    return claim.id


@plants("jobs stuck in dispatched")
def a_lost_message_is_found_late(scene):
    claim = claimed(scene.session, scene.story.app_id)
    lifecycle.record(scene.session, [replace(success(claim), state="ready", spent=False)])
    lifecycle.dispatch(scene.session, [claim.id], timedelta(minutes=-3))
    lifecycle.lose_messages(scene.session, QUEUES, 10)
    return claim.id

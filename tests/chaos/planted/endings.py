"""Planted in endings: reasons that nothing in a run gives, and rows that count otherwise than what was recorded."""

from tests.chaos.planted.scene import plants


@plants("jobs that ended as they never should")
def a_good_job_fails(scene):
    return scene.sql(
        """UPDATE jobs SET state = 'failed', error = '{"code": "unexpected_error"}' WHERE id = :job""",
        scene.story["flaky"],
    )


@plants("jobs that ended as they never should")
def a_worker_is_blamed_too_soon(scene):
    return scene.sql(
        """UPDATE jobs SET state = 'failed', lost = 2, error = '{"code": "worker_lost"}' WHERE id = :job""",
        scene.story["orphaned"],
    )


@plants("jobs that ended as they never should")
def a_job_expires_before_its_time(scene):
    return scene.sql(
        "UPDATE jobs SET deadline_at = finished_at + interval '1 second' WHERE id = :job", scene.story["late"]
    )


@plants("jobs that ended as they never should")
def a_job_is_cancelled_by_nobody(scene):
    return scene.sql("UPDATE jobs SET state = 'cancelled' WHERE id = :job", scene.story["first"])


@plants("jobs that ended as they never should")
def a_hopeless_job_succeeds(scene):
    return scene.sql("UPDATE jobs SET state = 'succeeded', error = NULL WHERE id = :job", scene.story["fail"])


@plants("jobs that miscount their attempts")
def a_lost_worker_spends_an_attempt(scene):
    return scene.sql("UPDATE jobs SET attempt = attempt + 1 WHERE id = :job", scene.story["orphaned"])


@plants("jobs that miscount their attempts")
def a_lost_worker_is_not_counted(scene):
    return scene.sql("UPDATE jobs SET lost = 0 WHERE id = :job", scene.story["orphaned"])

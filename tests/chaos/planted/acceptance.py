"""Planted in acceptance: jobs, keys and answers that are gone, torn or doubled."""

from sqlalchemy import text

from tests.chaos.planted.scene import plants


@plants("accepted jobs without a row")
def a_job_is_gone(scene):
    return scene.sql("DELETE FROM jobs WHERE id = :job", scene.story["quick"])


@plants("jobs without an end")
def a_job_waits_for_ever(scene):
    return scene.sql("UPDATE jobs SET state = 'ready', finished_at = NULL WHERE id = :job", scene.story["fail"])


@plants("failed, expired or parked jobs without a reason")
def a_job_is_parked_without_a_word(scene):
    return scene.sql("UPDATE jobs SET error = NULL WHERE id = :job", scene.story["asking"])


@plants("requests with only some of their jobs")
def one_job_of_a_bulk_is_gone(scene):
    scene.sql("DELETE FROM jobs WHERE id = :job", scene.story["bulk"])
    return "bulk: 2 of 3, answered"


@plants("requests with only some of their jobs")
def one_job_of_an_unanswered_bulk_is_gone(scene):
    statement = "DELETE FROM jobs WHERE id = (SELECT id FROM jobs WHERE labels ->> 'request' = 'unheard' LIMIT 1)"
    assert scene.connection.execute(text(statement)).rowcount == 1
    return "unheard: 2 of 3, unanswered"


@plants("requests with only some of their jobs")
def a_refused_request_leaves_a_job(scene):
    return scene.sql("""UPDATE jobs SET labels = '{"request": "refused"}' WHERE id = :job""", scene.story["first"])


@plants("requests with only some of their jobs")
def a_request_without_a_key_makes_two_jobs(scene):
    scene.journal.requests["flaky"].key = None
    statement = """UPDATE jobs SET labels = '{"request": "flaky"}' WHERE id = :job"""
    scene.sql(statement, scene.story["quick"])
    return "flaky: 2 of 1, answered"


@plants("idempotency keys with two jobs")
def a_key_makes_two_jobs(scene):
    return scene.sql(
        "UPDATE jobs SET labels = (SELECT labels FROM jobs WHERE id = :job) WHERE labels ->> 'request' = 'flaky'",
        min(scene.story["quick"], scene.story["flaky"]),
    )


@plants("idempotency keys with two jobs")
def a_key_keeps_an_answer_without_a_job(scene):
    return scene.sql("DELETE FROM jobs WHERE id = :job", scene.story["paid"])


@plants("accepted cancels and retries without a trace")
def a_cancel_is_forgotten(scene):
    return scene.sql("DELETE FROM events WHERE job_id = :job AND type = 'cancelled'", scene.story["cancelled"])


@plants("accepted cancels and retries without a trace")
def a_retry_is_forgotten(scene):
    scene.journal.retried.add(scene.story["late"])
    return scene.story["late"]


@plants("answers that contradict each other")
def a_request_is_answered_in_two_ways(scene):
    other = {"id": str(scene.story["flaky"]), "kind": "chaos.quick", "labels": {"request": "quick"}}
    scene.journal.accept("quick", [other])
    return scene.story["quick"]

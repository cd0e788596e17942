"""Promise: a message that a worker cannot use costs nothing but time, whoever wrote it."""

import json
import signal
import time
from base64 import b64encode
from collections.abc import Callable
from uuid import uuid4

import pytest
from redis import Redis

from models.lifecycle import Hint
from models.session import transaction
from settings import get_settings
from tasks.discovery import handlers
from tests.support.engine import job_row
from tests.support.processes import eventually, workers
from workers.app import app
from workers.dispatcher.messages import Publisher
from workers.timeline import timeline

PATIENT = {"MAINSTAY_DISPATCH_LEASE_SECONDS": "300"}
POOLS = pytest.mark.parametrize("pool", ["prefork", "threads"])


def ended(job):
    return job_row(job).finished_at is not None


def events(job):
    with transaction() as session:
        return [event.type for event in timeline(session, job)]


@POOLS
def test_an_old_worker_hands_back_the_jobs_of_a_kind_that_only_a_new_one_knows(processes, submit, pool):
    processes.dispatcher(**PATIENT)
    old = processes.worker("default", "--pool", pool, concurrency=1, app="workers.app", **PATIENT)
    new = processes.worker(concurrency=1, queue="default", **PATIENT)
    new.signal(signal.SIGSTOP)
    started = time.monotonic()
    jobs = [submit("flow.count") for _ in range(5)]
    eventually(lambda: max(job_row(job).epoch for job in jobs) >= 3)
    assert time.monotonic() - started > 2
    new.signal(signal.SIGCONT)
    eventually(lambda: all(ended(job) for job in jobs))
    assert [(job_row(job).state, job_row(job).attempt, job_row(job).lost) for job in jobs] == [("succeeded", 1, 0)] * 5
    assert {tuple(events(job)) for job in jobs} == {("created", "attempt_started", "attempt_finished")}
    old.signal(signal.SIGTERM)
    assert old.wait() == 0


Change = Callable[[dict], object]


def headers(**changes: object) -> Change:
    return lambda message: {**message, "headers": {**message["headers"], **changes}}


def body(content: object) -> Change:
    return lambda message: {**message, "body": b64encode(json.dumps(content).encode()).decode()}


def arguments(*hints: object, **keywords: object) -> Change:
    return body([hints, keywords, {}])


ID = str(uuid4())
STRANGE: list[Change] = [
    lambda message: "no JSON, but a text in its place",
    lambda message: None,
    lambda message: [],
    lambda message: {},
    lambda message: {**message, "properties": {}},
    lambda message: {**message, "properties": None},
    lambda message: {**message, "headers": None},
    lambda message: {**message, "headers": {}},
    lambda message: {**message, "content-type": "application/x-python-serialize"},
    lambda message: {**message, "content-type": "text/unheard-of"},
    lambda message: {**message, "content-encoding": "unheard-of"},
    lambda message: {**message, "body": "no base64"},
    lambda message: {**message, "body": b64encode(b"no JSON").decode()},
    lambda message: {**message, "body": None},
    headers(id=None),
    headers(id=["a", "list"]),
    headers(task=None),
    headers(task=["a", "list"]),
    headers(task="no.such_kind", id=7),
    headers(timelimit="soon"),
    headers(timelimit=["soon", "later"]),
    headers(eta="soon"),
    headers(eta="2999-01-01T00:00:00Z"),
    headers(expires=[]),
    headers(compression="unheard-of"),
    body(None),
    body("text"),
    body([]),
    body([[[[ID, 1]]], {}]),
    body([[[[ID, 1]]], {}, None]),
    body({"args": [[[ID, 1]]], "kwargs": {}}),
    arguments(),
    arguments(None),
    arguments([]),
    arguments("text"),
    arguments([[ID, 1]], [[ID, 1]]),
    arguments([[ID, 1]], more=1),
    arguments([[ID]]),
    arguments([[ID, "1"]]),
    arguments([[ID, 2**40]]),
    arguments([[ID, None]]),
    arguments([["no uuid", 1]]),
    arguments([[7, 1]]),
    lambda message: headers(task="no.such_kind")(arguments()(message)),
    lambda message: headers(task="no.such_kind")(arguments([["no uuid", 1]])(message)),
    lambda message: headers(task="no.such_kind")(arguments([[ID, 1]], 7)(message)),
]


@pytest.fixture
def redis(services) -> Redis:
    return Redis.from_url(get_settings().redis_url.get_secret_value())


@pytest.fixture
def strange(redis, monkeypatch) -> list[bytes]:
    """A good message, and all that could be made of it."""
    monkeypatch.setenv("CELERY_BROKER_URL", get_settings().redis_url.get_secret_value())
    redis.delete("payments")
    publisher = Publisher(app, handlers())
    publisher.publish("payments", "flow.count", [Hint(uuid4(), 1)])
    publisher.close()
    message = json.loads(redis.rpop("payments"))
    message["properties"]["delivery_info"]["routing_key"] = "default"
    return [b"no JSON", b"\xff\xfe", b"", *(json.dumps(change(message)).encode() for change in STRANGE)]


@POOLS
def test_no_message_kills_a_worker_or_keeps_it_from_the_next_one(processes, submit, redis, strange, pool):
    processes.dispatcher()
    worker = processes.worker("default", "--pool", pool, concurrency=1)
    before = workers()
    for message in strange:
        redis.lpush("default", message)
    job = submit("flow.count")
    eventually(lambda: ended(job))
    assert (job_row(job).state, job_row(job).epoch) == ("succeeded", 1)
    assert workers() == before
    eventually(lambda: not redis.hlen("unacked"))
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0

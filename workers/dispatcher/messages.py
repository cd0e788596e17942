"""The messages: how many and which wait in Redis, whether Redis was wiped, and publishing one."""

import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import orjson
from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from models.lifecycle import Hint
from settings import get_settings
from tasks import Handler
from workers.hints import dump, hints_in
from workers.wakeup.connections import redis_client

REDIS_ERRORS: tuple[type[Exception], ...] = (RedisError, KombuError, OSError)
"""What `look` and `Publisher.publish` raise while Redis is away, frozen, full or starting."""

QUICK = {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
"""A publish has to fail well before Postgres takes a silent dispatcher for frozen (`election.FROZEN`); the loop is its
retry. With the options of the workers a frozen Redis would hold it for 15 seconds."""

BACKSTOP = 60
"""Seconds by which Celery's own hard limit comes after the keeper's, should claiming take all the time it may."""


class Waiting(NamedTuple):
    """What Redis says of one queue."""

    messages: int
    wiped: bool
    """Whether everything that was published before is gone."""


def look(queues: Sequence[str]) -> dict[str, Waiting]:
    """Ask Redis about each queue. A mark that is missing tells that Redis was wiped; it is set again.

    Raises one of `REDIS_ERRORS`.
    """
    pipe = redis_client().pipeline(transaction=False)
    for queue in queues:
        pipe.llen(queue)
        pipe.set(f"mainstay:mark:{queue}", 1, nx=True)
    answers = pipe.execute()
    return {
        queue: Waiting(answers[2 * index], answers[2 * index + 1] is not None) for index, queue in enumerate(queues)
    }


def still_waiting(queues: Sequence[str]) -> list[Hint]:
    """The hints in all messages that wait in Redis for these queues: few, since only a few are sent ahead.

    What is no message of ours holds none. Raises one of `REDIS_ERRORS`.
    """
    pipe = redis_client().pipeline(transaction=False)
    for queue in queues:
        pipe.lrange(queue, 0, -1)
    return [hint for messages in pipe.execute() for message in messages for hint in _hints(message)]


def _hints(message: str) -> list[Hint]:
    try:
        arguments, _, _ = orjson.loads(b64decode(orjson.loads(message)["body"]))
        return hints_in(arguments)
    except (ValueError, TypeError, LookupError):
        return []


class Publisher:
    """Puts hints into Redis as Celery messages, over one producer."""

    def __init__(self, app: Celery, handlers: Mapping[str, Handler]) -> None:
        self._app = app
        self._handlers = handlers
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def publish(self, queue: str, kind: str, hints: Sequence[Hint]) -> None:
        """Publish one message. After an exception nobody knows whether it arrived: withdraw the hints.

        A single job's message has the job's id as its task id, so that Flower finds it.
        """
        task_id = str(hints[0].id) if len(hints) == 1 else str(uuid4())
        message = self._app.amqp.as_task_v2(
            task_id, kind, (dump(hints),), {}, time_limit=self._hard_limit(kind), ignore_result=True
        )
        self._app.amqp.send_task_message(self._open(), kind, message, queue=queue, declare=[], retry=False)

    def close(self) -> None:
        """Drop the connection; the next message opens another."""
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            connection.release()

    def _open(self) -> Any:
        if self._producer is None:
            self._connection = self._app.connection_for_write(transport_options=QUICK)
            self._producer = Producer(self._connection.default_channel, auto_declare=False)
        return self._producer

    def _hard_limit(self, kind: str) -> int:
        handler = self._handlers[kind]
        claim = get_settings().dispatch_lease
        return math.ceil((claim + handler.timeout + handler.grace).total_seconds()) + BACKSTOP

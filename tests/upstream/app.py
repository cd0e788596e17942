"""A Celery application of three small tasks; the JSON in `UPSTREAM` chooses its settings and leaves out corrections."""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task, signals
from celery.worker import heartbeat
from kombu import Queue
from kombu.transport import redis

import celeryconfig
from workers.process import broker

LONGEST = 120.0
"""Seconds after which a held task gives up waiting for a test that must be gone."""
ORIGINALS = {
    "ack": (redis.Channel, "QoS", redis.QoS),
    "heartbeat": (heartbeat.Heart, "_send", broker._send),
    "read": (redis.Channel, "_brpop_read", broker._read),
}
"""What the corrections of `workers.process.broker` replace."""

chosen: dict[str, Any] = json.loads(os.environ["UPSTREAM"])
folder = Path(chosen["folder"])

app = Celery("upstream", set_as_current=True)
transport: dict[str, Any] = {}
if chosen["shipped"]:
    app.config_from_object(celeryconfig)
    transport |= celeryconfig.broker_transport_options
    broker.correct()
for name in chosen["uncorrected"]:
    owner, attribute, original = ORIGINALS[name]
    setattr(owner, attribute, original)
app.conf.update(
    {
        "broker_url": chosen["url"],
        "broker_transport_options": transport | chosen["transport"],
        "task_queues": [Queue(chosen["queue"])],
        "task_default_queue": chosen["queue"],
        "worker_hijack_root_logger": False,
    }
    | chosen["settings"]
)


@signals.setup_logging.connect
def _log_everything(**_: Any) -> None:
    """Every logger to standard error, which is the log that a test reads."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(name)s %(levelname)s %(message)s")


def note(event: str, task: Task) -> None:
    """Append one line, in one write."""
    with (folder / "notes").open("a") as notes:
        notes.write(f"{event} {task.request.id} {os.getpid()}\n")


@app.task(name="hold", bind=True)
def hold(self: Task) -> None:
    """Take as long as the test wants: until there is a file with the message's name."""
    note("begin", self)
    deadline = time.monotonic() + LONGEST
    while not (folder / f"release-{self.request.id}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    note("end", self)


@app.task(name="die", bind=True)
def die(self: Task) -> None:
    """Kill the process that performs it."""
    note("begin", self)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="exhaust", bind=True)
def exhaust(self: Task) -> None:
    """Say that there is no memory left."""
    note("begin", self)
    raise MemoryError

"""The peer: plain Celery over Redis with its database result backend, everything else as Celery ships it."""

import os
from typing import Any

from celery import Celery

from bench import PLAIN_BROKER, PLAIN_RESULTS

app = Celery("plain", broker=os.environ[PLAIN_BROKER], backend=f"db+{os.environ[PLAIN_RESULTS]}")
app.conf.update(broker_connection_retry_on_startup=True)


@app.task(name="plain.noop")
def noop() -> dict[str, Any]:
    """Do nothing; the result is a row."""
    return {}


@app.task(name="plain.count")
def count(text: str) -> dict[str, Any]:
    """What text.count does."""
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}

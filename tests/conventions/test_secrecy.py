"""What operators are shown of Celery's configuration never holds a password."""

import os
import subprocess
import sys

import pytest

from tests.support.compose import ROOT

ENVIRONMENT = {
    "DATABASE_URL": "postgresql+psycopg://mainstay:sesame-postgres@127.0.0.1:1/none",
    "REDIS_URL": "redis://:sesame-redis@127.0.0.1:1/0",
    "MAINSTAY_KEY_PEPPER": "sesame-pepper-of-keys",
    "MAINSTAY_STRIPE_API_KEY": "sk_test_sesame",
    "PATH": os.environ["PATH"],
}
# What a worker answers to `inspect conf`, and Flower shows. It reads no more of its state than `app`.
INSPECTED = (
    "import json, workers.app as w; from celery.worker.control import conf; print(json.dumps(conf(w), default=repr))"
)
REPORTED = "from celery.__main__ import main; main()"


def shown(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=ENVIRONMENT,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "arguments", [(REPORTED, "-A", "workers.app", "report"), (INSPECTED,)], ids=["report", "inspect"]
)
def test_celery_shows_its_configuration_without_passwords(arguments: tuple[str, ...]) -> None:
    text = shown(*arguments)
    assert "broker_transport_options" in text
    assert "sesame" not in text

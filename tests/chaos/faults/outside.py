"""The outside world: it refuses, it acts and never answers, it acts and cuts the line."""

from functools import partial

import requests

from tests.chaos.faults import Course, fault
from tests.chaos.field import Field
from tests.chaos.sink import MODES

SECONDS = 2.0


def _trouble(mode: str, field: Field) -> Course:
    with requests.Session() as session:
        session.trust_env = False
        told = session.post(f"{field.fleet.sink_url}/trouble", json={"mode": mode, "seconds": SECONDS}, timeout=5)
    told.raise_for_status()
    yield SECONDS


for _mode in MODES:
    fault("outside", name=f"sink_{_mode}")(partial(_trouble, _mode))

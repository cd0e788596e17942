"""The outside world: it refuses, it acts and never answers, it acts and cuts the line; so does the payment provider."""

from functools import partial
from typing import Any

import requests

from tests.chaos.faults import Course, fault
from tests.chaos.field import Field
from tests.chaos.sink import MODES

SECONDS = 2.0
CALLS = 3
MOVES_MONEY = "payment_intents.confirm"
CALLS_DEADLINE = 60.0
PROVIDER = {
    "provider_cuts_the_line": "reset_after",
    "provider_fails_after_the_act": "error_after",
    "provider_fails_before_the_act": "error_before",
    "provider_limits_the_rate": "rate_limit",
}
"""By name, what the sandbox calls it."""


def _trouble(mode: str, field: Field) -> Course:
    _ask("POST", f"{field.fleet.sink_url}/trouble", json={"mode": mode, "seconds": SECONDS})
    yield SECONDS


def _payments(trouble: str, field: Field) -> Course:
    """The next calls that move money go wrong. A stored error of a creation would keep its job for hours, by design."""
    faults = f"{field.fleet.control_url}/faults"
    armed = _ask("POST", faults, json={"fault": trouble, "endpoint": MOVES_MONEY, "times": CALLS}).json()["id"]
    yield from field.until(lambda: _struck(faults, armed) == CALLS, CALLS_DEADLINE, "nobody called the provider")


def _struck(faults: str, armed: str) -> int:
    (found,) = [fault for fault in _ask("GET", faults).json()["items"] if fault["id"] == armed]
    struck: int = found["struck"]
    return struck


def _ask(method: str, address: str, **options: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, address, timeout=5, **options)
    answer.raise_for_status()
    return answer


for _mode in MODES:
    fault("outside", name=f"sink_{_mode}")(partial(_trouble, _mode))
for _name, _kind in PROVIDER.items():
    fault("provider", name=_name)(partial(_payments, _kind))

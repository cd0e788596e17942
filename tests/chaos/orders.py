"""What the clients of a run submit: requests drawn from a seed, each with its bytes, so that it can be sent again.

The kinds that misbehave are not among them: they are faults, and the plan submits them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any, NamedTuple

SMALLEST_BULK, LARGEST_BULK = 20, 200
UNIQUE_KEYS = 5
"""So few that many find a job that has not ended."""
LATEST_S = 5.0
BURST_JOBS, BURST_SECONDS = 60, 0.2
WAIT_S = 1
PLAN = "plan"
"""So begin the names of the requests that the plan makes; their jobs are left alone."""
JSON, LINES = "application/json", "application/x-ndjson"

Body = dict[str, Any]


class Mix(NamedTuple):
    """How much of what: the share of bulk jobs among all, and weights."""

    bulk_share: float = 0.6
    kinds: Mapping[str, float] = {
        "chaos.quick": 50, "chaos.effect": 30, "chaos.flaky": 8, "chaos.fail": 4, "chaos.parent": 4, "chaos.slow": 2,
    }  # fmt: skip
    variants: Mapping[str, float] = {
        "plain": 25, "keyed": 20, "twice": 10, "delayed": 12, "prioritized": 10, "unique": 10, "awaited": 2,
        "payment": 8, "limited": 3,
    }  # fmt: skip
    """Of the submits of one job; see `VARIANTS`."""
    queues: Mapping[str, float] = {"default": 90, "integrations": 10}
    """Where the jobs of `chaos.*` go."""
    looks_per_second: float = 4.0
    """Of a client that reads, cancels and retries what others submitted."""


USUAL = Mix()


@dataclass(frozen=True)
class Order:
    """One request to submit. With a key, sending it again is the same request."""

    name: str
    size: int
    path: str
    body: bytes
    content_type: str = JSON
    key: str | None = None
    wait: int = 0
    """Whole seconds that the client would like to wait for the job's end."""
    twice: bool = False
    """Whether a second client sends the same at the same time."""

    @property
    def bulk(self) -> bool:
        return self.path != "/v1/jobs"

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Content-Type": self.content_type}
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if self.wait:
            headers["Prefer"] = f"wait={self.wait}"
        return headers


class Orders:
    """Draws requests; to be used by one thread. Their names begin with `name`, which also chooses its chances."""

    def __init__(self, name: str, seed: int, sink_url: str, mix: Mix) -> None:
        self._chance = Random(f"{seed}/{name}")
        self._names = (f"{name}-{number}" for number in count(1))
        self._sink_url = sink_url
        self._mix = mix

    def single(self) -> Order:
        """A submit of one job, of any variant."""
        name, variant = next(self._names), _pick(self._chance, self._mix.variants)
        body, options = VARIANTS[variant](self._chance, self._job(name))
        return one(name, body, **options)

    def bulk(self) -> Order:
        """Some jobs in one request, as an array or as lines."""
        name, size = next(self._names), self._chance.randint(SMALLEST_BULK, LARGEST_BULK)
        jobs = [self._job(name) for _ in range(size)]
        if self._chance.random() < 0.5:
            return Order(name, size, "/v1/jobs/bulk", json.dumps(jobs).encode(), JSON, key=name)
        lines = "\n".join(json.dumps(job) for job in jobs)
        return Order(name, size, "/v1/jobs/bulk?atomic=true", lines.encode(), LINES, key=name)

    def _job(self, name: str) -> Body:
        kind = _pick(self._chance, self._mix.kinds)
        job = {"kind": kind, "params": PARAMS[kind](self._chance, self._sink_url), "labels": {"request": name}}
        return job | {"queue": _pick(self._chance, self._mix.queues)}


def one(name: str, body: Body, **options: Any) -> Order:
    """The order of one job."""
    return Order(name, 1, "/v1/jobs", json.dumps(body).encode(), **options)


def burst(name: str) -> Order:
    """The order of a few seconds' work for every worker."""
    job = {"kind": "chaos.slow", "params": {"seconds": BURST_SECONDS}, "labels": {"request": name}}
    jobs = [{**job, "queue": queue} for queue in ("default", "integrations") for _ in range(BURST_JOBS)]
    return Order(name, len(jobs), "/v1/jobs/bulk", json.dumps(jobs).encode(), JSON, key=name)


def _pick(chance: Random, weights: Mapping[str, float]) -> str:
    return chance.choices(list(weights), list(weights.values()))[0]


PARAMS: dict[str, Callable[[Random, str], Body]] = {
    "chaos.quick": lambda chance, sink: {},
    "chaos.effect": lambda chance, sink: {"sink": sink},
    "chaos.flaky": lambda chance, sink: {"until": chance.randint(2, 4)},
    "chaos.fail": lambda chance, sink: {},
    "chaos.parent": lambda chance, sink: {"sink": sink},
    "chaos.steady": lambda chance, sink: {},
    "chaos.slow": lambda chance, sink: {"seconds": round(chance.uniform(0.1, 1.0), 2)},
}

Variant = tuple[Body, dict[str, Any]]


def _plain(chance: Random, body: Body) -> Variant:
    """Without a key: cannot be sent again when the answer is lost."""
    return body, {}


def _keyed(chance: Random, body: Body) -> Variant:
    return body, {"key": _key(body)}


def _twice(chance: Random, body: Body) -> Variant:
    return body, {"key": _key(body), "twice": True}


def _delayed(chance: Random, body: Body) -> Variant:
    delay = round(chance.uniform(1, LATEST_S), 1)
    due = {"run_at": (datetime.now(UTC) + timedelta(seconds=delay)).isoformat()}
    return body | chance.choice((due, {"delay_s": delay})), {"key": _key(body)}


def _prioritized(chance: Random, body: Body) -> Variant:
    return body | {"priority": chance.randint(-100, 100)}, {"key": _key(body)}


def _unique(chance: Random, body: Body) -> Variant:
    """Mostly for later, so that there is somebody to conflict with."""
    policy = chance.choice(("reject", "return_existing", "replace"))
    taken = {"unique_key": f"unique-{chance.randrange(UNIQUE_KEYS)}", "on_conflict": policy}
    return body | taken | {"delay_s": chance.choice((0, 1, 2))}, {"key": _key(body)}


def _awaited(chance: Random, body: Body) -> Variant:
    return body, {"key": _key(body), "wait": WAIT_S}


def _limited(chance: Random, body: Body) -> Variant:
    """Too little time for some: it may be over while the job waits, is on its way or runs."""
    limit = round(chance.uniform(0.05, LATEST_S), 2)
    expires_at = (datetime.now(UTC) + timedelta(seconds=limit)).isoformat()
    return body | chance.choice(({"deadline_s": limit}, {"expires_at": expires_at})), {"key": _key(body)}


def _payment(chance: Random, body: Body) -> Variant:
    """One in five cards is declined."""
    card = chance.choice(("pm_card_visa",) * 4 + ("pm_card_visa_chargeDeclined",))
    params = {"amount": chance.randint(100, 9999), "currency": "EUR", "payment_method": card}
    return {"kind": "payment.charge", "params": params, "labels": body["labels"]}, {"key": _key(body)}


VARIANTS: dict[str, Callable[[Random, Body], Variant]] = {
    "plain": _plain,
    "keyed": _keyed,
    "twice": _twice,
    "delayed": _delayed,
    "prioritized": _prioritized,
    "unique": _unique,
    "awaited": _awaited,
    "payment": _payment,
    "limited": _limited,
}


def _key(body: Body) -> str:
    """A request's key is its name."""
    name: str = body["labels"]["request"]
    return name

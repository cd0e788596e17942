"""The load of a run: a few clients that submit jobs at a steady rate, whatever happens to the API meanwhile."""

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from tests.chaos.client import Client
from tests.chaos.journal import Journal
from tests.chaos.onlooker import Onlooker
from tests.chaos.orders import PLAN, USUAL, Mix, Order, Orders, burst, one

SUBMITTERS = 3
CATCH_UP = 1.0
"""Seconds that a pace makes up for after an outage; the rest of the time is lost."""
ACCEPT_DEADLINE = 120.0


class NotAccepted(Exception):
    """A job that the run needs was refused, or not accepted in time."""


class Pace:
    """So many units a second, shared by the threads that ask it."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._due = time.monotonic()
        self._lock = threading.Lock()

    def take(self, units: int) -> float:
        """Seconds to wait before these units are due."""
        with self._lock:
            now = time.monotonic()
            due = max(self._due, now - CATCH_UP)
            self._due = due + units / self._rate
            return due - now


class Load:
    """Six threads at most: submitters of single jobs, one of bulks, an onlooker, and one that sends doubles."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        sink_url: str,
        journal: Journal,
        seed: int,
        rate: float = 80,
        mix: Mix = USUAL,
    ) -> None:
        """`rate` is in jobs per second, all of `mix` together."""
        self._client = Client(base_url, api_key, journal)
        self._journal = journal
        self._stopping = threading.Event()
        self._numbers = count(1)
        self._errors: list[BaseException] = []
        singles = Pace(rate * (1 - mix.bulk_share))
        drawn = [Orders(f"single-{number}", seed, sink_url, mix).single for number in range(1, SUBMITTERS + 1)]
        self._work = [partial(self._submitting, draw, singles) for draw in drawn]
        if mix.bulk_share:
            self._work.append(
                partial(self._submitting, Orders("bulk", seed, sink_url, mix).bulk, Pace(rate * mix.bulk_share))
            )
        if mix.looks_per_second:
            self._work.append(partial(self._looking, Onlooker(self._client, seed), Pace(mix.looks_per_second)))
        self._threads: list[threading.Thread] = []

    @property
    def submitted(self) -> int:
        """Jobs whose acceptance a client has been told of."""
        return len(self._journal.accepted)

    def start(self) -> None:
        """Begin."""
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in self._work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and return once every request under way is answered or given up.

        Raises what ended a client before its time: a load that was none would prove nothing.
        """
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        if self._errors:
            raise self._errors[0]

    def submit(self, kind: str, queue: str = "default", **params: Any) -> UUID:
        """Submit one job for the plan, from the caller's thread, until it is accepted. Raises `NotAccepted`."""
        name = f"{PLAN}-{next(self._numbers)}"
        last = time.monotonic() + ACCEPT_DEADLINE

        def pause(seconds: float) -> bool:
            time.sleep(seconds)
            return time.monotonic() > last

        # Before everything that waits: the plan waits for it.
        body = {"kind": kind, "params": params, "queue": queue, "labels": {"request": name}, "priority": 100}
        ids = self._client.submit(one(name, body, key=name), pause)
        if not ids:
            raise NotAccepted(f"{kind}: {self._journal.requests[name].refused or 'no answer'}")
        return ids[0]

    def burst(self) -> None:
        """Submit, from the caller's thread, one bulk of slow jobs: more than the workers can do in a few seconds."""
        self._client.submit(burst(f"burst-{next(self._numbers)}"), self._stopping.wait)

    def _submitting(self, draw: Callable[[], Order], pace: Pace) -> None:
        while not self._stopping.is_set():
            order = draw()
            if not self._stopping.wait(pace.take(order.size)):
                self._client.submit(order, self._stopping.wait)

    def _looking(self, onlooker: Onlooker, pace: Pace) -> None:
        while not self._stopping.wait(pace.take(1)):
            onlooker.look()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # `stop` raises it
            self._errors.append(error)

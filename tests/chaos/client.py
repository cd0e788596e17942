"""A client of the API in a run of faults: it sends, sends again what may be sent again, and writes down the answers."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import requests

from tests.chaos.journal import Journal
from tests.chaos.orders import Order

CONNECT_SECONDS = 2
READ_SECONDS = 10
AGAIN_AFTER = 0.2
PASSING = ("idempotency_in_progress", "rate_limited", "body_too_slow")
"""Codes below 500 of refusals that say: not now."""


class Client:
    """May be used from several threads: each has connections of its own, kept from call to call."""

    def __init__(self, base_url: str, api_key: str, journal: Journal) -> None:
        self.journal = journal
        self._base_url = base_url
        self._api_key = api_key
        self._local = threading.local()
        self._doubles = ThreadPoolExecutor(1, "load-double")

    def submit(self, order: Order, pause: Callable[[float], bool]) -> list[UUID] | None:
        """Send an order until it is answered or refused; without a key only once. The jobs, None when there are none.

        `pause` waits so many seconds, and says whether to give up.
        """
        self.journal.ask(order.name, order.size, order.key, bulk=order.bulk)
        double = self._doubles.submit(self.send, order) if order.twice else None
        while True:
            over, ids = self.send(order)
            if over or order.key is None or pause(AGAIN_AFTER):
                break
        if double is not None:
            double.result()
        return ids

    def close(self) -> None:
        """No thread of it is left."""
        self._doubles.shutdown()

    def send(self, order: Order) -> tuple[bool, list[UUID] | None]:
        """Send an order once. Whether that settles it, and its jobs if it was accepted."""
        answer = self.call("POST", order.path, headers=order.headers, data=order.body, wait=order.wait)
        if answer is None:
            return False, None
        if answer.ok:
            return True, self.journal.accept(order.name, self._jobs(order, answer.json()))
        problem = answer.json()
        why = f"{answer.status_code} {problem['code']}"
        if problem["code"] in PASSING:
            self.journal.failed(why)
            return False, None
        self.journal.refuse(order.name, " ".join((why, *(error["code"] for error in problem.get("errors", ())))))
        return True, None

    def call(self, method: str, path: str, *, wait: int = 0, **options: Any) -> requests.Response | None:
        """One request. None when there is no answer, or only one that says that the server is in trouble."""
        began = time.monotonic()
        try:
            answer = self._session().request(
                method, self._base_url + path, timeout=(CONNECT_SECONDS, READ_SECONDS + wait), **options
            )
        except requests.RequestException as error:
            self.journal.failed(type(error).__name__)
            return None
        if answer.status_code >= 500:
            self.journal.failed(str(answer.status_code))
            return None
        if answer.ok:
            self.journal.answered(began)
        return answer

    def _jobs(self, order: Order, answer: Any) -> list[dict[str, Any]]:
        """The accepted jobs. That one item of a bulk is refused is not foreseen: all are alike."""
        if not order.bulk:
            return [answer]
        for item in answer["items"]:
            if item["status"] != 202:
                self.journal.contradict(f"item {item['index']} of {order.name} was refused: {item['problem']['code']}")
        return [item["job"] for item in answer["items"] if item["status"] == 202]

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            # A proxy named in the environment cannot reach our loopback.
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self._api_key}"
        return session

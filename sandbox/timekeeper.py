"""Sees to it that what is due is done: errands and deliveries, in the order of their times, by the books' clock.

Moving the clock ahead does not skip what lies between: it passes through every moment at which something is due.
"""

import sys
import threading
import traceback
from collections.abc import Callable

from sandbox.books import errands
from sandbox.books.bank import Bank
from sandbox.books.errands import Errand
from sandbox.webhooks.postman import Postman

NAP_SECONDS = 60.0


class Timekeeper:
    """A thread that does what has become due, and the hand that moves the clock."""

    def __init__(self, bank: Bank, later: Callable[[Errand], None], postman: Postman) -> None:
        self._bank = bank
        self._later = later
        self._postman = postman
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._bank.alarm.set()
        self._thread.join()

    def advance(self, seconds: float) -> None:
        """Move the clock ahead, and do on the way what becomes due."""
        with self._lock:
            target = self._bank.now() + seconds
            while not self._stopping.is_set() and (due := self._first()) and due[0] <= target:
                self._bank.move_clock(due[0])
                due[1]()
            self._bank.move_clock(target)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._bank.alarm.clear()
            with self._lock:
                due = self._first()
                if due is not None and due[0] <= self._bank.now():
                    due[1]()
                    continue
            self._bank.alarm.wait(min(due[0] - self._bank.now(), NAP_SECONDS) if due else NAP_SECONDS)

    def _first(self) -> tuple[float, Callable[[], None]] | None:
        """When the next thing is due, and the doing of it."""
        errand, delivery = errands.first(self._bank), self._postman.first()
        if errand is not None and (delivery is None or errand.at <= delivery.due):
            return errand.at, lambda: self._do(errand)
        return (delivery.due, lambda: self._postman.deliver(delivery)) if delivery is not None else None

    def _do(self, errand: Errand) -> None:
        try:
            self._later(errand)
        except Exception:  # noqa: BLE001  # a fault of the sandbox is shown, and does not stop its clock
            traceback.print_exc(file=sys.stderr)
            errands.strike_out(self._bank, errand)

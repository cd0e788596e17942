"""Deadlines of exchanges: who may shut down which socket, and when."""

import os
import socket
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from clients.http import exchange
from clients.http.exchange import Exchange, Watchdog


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield ours, theirs


def test_an_exchange_that_is_late_has_its_socket_shut_down_and_is_marked(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    with exchange.perform(Exchange(monotonic() + 0.05, fresh=True)) as late:
        late.sending_on(ours)
        assert ours.recv(1) == b""
    assert late.expired


def test_a_socket_that_was_let_go_is_left_alone(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    finished = Exchange(monotonic(), fresh=True)
    finished.sending_on(ours)
    finished.let_go()
    finished.expire()
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_socket_that_comes_too_late_is_shut_down_at_once(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    late = Exchange(monotonic(), fresh=True)
    late.expire()
    late.sending_on(ours)
    assert ours.recv(1) == b""


def test_the_nearest_deadline_comes_first_whatever_the_order_of_arrival(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    watchdog = Watchdog()
    patient, hasty = Exchange(monotonic() + 60, fresh=True), Exchange(monotonic() + 0.05, fresh=True)
    with watchdog.watch(patient), watchdog.watch(hasty):
        hasty.sending_on(ours)
        assert ours.recv(1) == b""
    assert (patient.expired, hasty.expired) == (False, True)


def test_each_thread_has_its_own_exchange() -> None:
    seen: list[Exchange | None] = []
    with exchange.perform(Exchange(monotonic() + 60, fresh=True)) as ours:
        thread = threading.Thread(target=lambda: seen.append(exchange.current()))
        thread.start()
        thread.join(5)
        assert exchange.current() is ours
    assert seen == [None]
    assert exchange.current() is None


def _leave_with_what_became_of_an_exchange() -> None:
    try:
        ours, theirs = socket.socketpair()
        with ours, theirs, exchange.perform(Exchange(monotonic() + 0.05, fresh=True)) as late:
            ours.settimeout(5)
            late.sending_on(ours)
            ours.recv(1)
        os._exit(0 if late.expired else 1)
    finally:
        os._exit(2)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_watches_its_own_deadlines() -> None:
    with exchange.perform(Exchange(monotonic() + 60, fresh=True)):
        child = os.fork()
        if child == 0:
            _leave_with_what_became_of_an_exchange()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

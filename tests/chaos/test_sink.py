"""The sink's word counts: what it answered is in its file, and what it did not answer may be."""

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from embedded.ports import free_port
from embedded.roles import responds, url
from tests.chaos.sink import read_effects
from tests.support.processes import Process, eventually


class Running:
    """A sink in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "effects.jsonl"
        self.url = url(port := free_port())
        self.process = Process(
            folder / "sink.log", sys.executable, "-m", "tests.chaos.sink", "--port", str(port), "--file", str(self.file)
        )
        eventually(lambda: responds(self.url))

    def post(self, path: str, timeout: float = 5, **content: object) -> int:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Idempotency-Key": "key"}
            return session.post(self.url + path, json=content, headers=headers, timeout=timeout).status_code

    def call(self, attempt: int = 1, timeout: float = 5) -> int:
        return self.post("/effect", timeout, job="job", attempt=attempt, token="token")


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.process.end()


def attempts(sink: Running) -> list[int]:
    return [effect.attempt for effect in read_effects(sink.file)]


def test_an_effect_is_on_record_with_its_key_when_it_is_answered(sink: Running) -> None:
    before = time.time()
    assert sink.call(attempt=3) == 200
    sink.process.signal(signal.SIGKILL)
    (effect,) = read_effects(sink.file)
    assert (effect.key, effect.job, effect.attempt, effect.token) == ("key", "job", 3, "token")
    assert before <= effect.at <= time.time()


def test_while_it_is_unavailable_nothing_happens(sink: Running) -> None:
    assert sink.post("/trouble", mode="unavailable", seconds=0.5) == 204
    assert sink.call(attempt=1) == 503
    eventually(lambda: sink.call(attempt=2) == 200, 5)
    assert attempts(sink) == [2]


def test_a_reset_takes_the_answer_and_leaves_the_effect(sink: Running) -> None:
    sink.post("/trouble", mode="reset", seconds=60)
    with pytest.raises(requests.ConnectionError):
        sink.call()
    assert attempts(sink) == [1]


def test_a_caller_that_does_not_wait_leaves_an_effect_behind(sink: Running) -> None:
    sink.post("/trouble", mode="hang", seconds=60)
    with pytest.raises(requests.ReadTimeout):
        sink.call(timeout=0.3)
    assert attempts(sink) == [1]


def test_a_trouble_that_it_does_not_know_is_refused(sink: Running) -> None:
    assert sink.post("/trouble", mode="explode", seconds=1) == 400
    assert sink.call() == 200

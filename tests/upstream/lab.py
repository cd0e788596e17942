"""One private Valkey, workers over it, and what their tasks noted: the ground on which every experiment here stands."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import psutil
from celery import Celery
from redis import Redis

from embedded.valkey import Valkey
from tests.support.processes import ROOT, eventually
from tests.upstream.profiles import PATIENCE, SHIPPED, Profile, Worker


class Lab:
    """A context manager around one experiment. Messages are known by the names that the test gives them."""

    def __init__(self, folder: Path) -> None:
        self.valkey = Valkey(folder / "valkey")
        self._folder = folder
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        self.valkey.data_dir.mkdir()
        self.valkey.start()
        self.redis = Redis.from_url(self.valkey.url, decode_responses=True, socket_timeout=10)
        self._app = Celery("publisher", broker=self.valkey.url, set_as_current=False)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.end()
        self._app.close()
        self.redis.close()
        self.valkey.stop()

    def workers(self, *profiles: Profile, concurrency: int = 1) -> list[Worker]:
        """Start one worker for each profile, each over a queue of its own, and wait until they are ready."""
        started = [self.begin(profile, concurrency) for profile in profiles]
        for worker in started:
            worker.says(" ready.")
        return started

    def worker(self, profile: Profile = SHIPPED, concurrency: int = 1) -> Worker:
        """Start one worker and wait until it is ready."""
        return self.workers(profile, concurrency=concurrency)[0]

    def begin(self, profile: Profile, concurrency: int = 1) -> Worker:
        """Start one worker, ready or not."""
        worker = Worker(self._folder, self.valkey.url, f"q{len(self._workers)}", profile, concurrency)
        self._workers.append(worker)
        return worker

    def publish(self, task: str, name: str, queue: str, **options: Any) -> None:
        """Put one message into a queue as the dispatcher does: without declaring anything, and once."""
        message = self._app.amqp.as_task_v2(name, task, (), {}, ignore_result=True, **options)
        with self._app.connection_for_write(transport_options={"socket_timeout": 5}) as connection:
            with self._app.amqp.Producer(connection, auto_declare=False) as producer:
                self._app.amqp.send_task_message(producer, task, message, queue=queue, declare=[], retry=False)

    def occupy(self, *workers: Worker, **options: Any) -> list[psutil.Process]:
        """Give each worker something to do until `free`; the children that do it."""
        for worker in workers:
            self.publish("hold", f"busy-{worker.queue}", worker.queue, **options)
        return [psutil.Process(self.begun(f"busy-{worker.queue}")[0]) for worker in workers]

    def free(self, *workers: Worker) -> None:
        """Let what `occupy` began come to its end."""
        for worker in workers:
            self.release(f"busy-{worker.queue}")
        for worker in workers:
            self.ended(f"busy-{worker.queue}")

    def release(self, name: str) -> None:
        """Let a held task end, as soon as it begins if it has not."""
        (self._folder / f"release-{name}").touch()

    def noted(self, event: str, name: str) -> list[int]:
        """The processes in which it did `begin`, or `end`."""
        path = self._folder / "notes"
        notes = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [int(pid) for what, of, pid in notes if (what, of) == (event, name)]

    def begun(self, name: str, times: int = 1, seconds: float = PATIENCE) -> list[int]:
        """Wait until it has begun so often; the processes in which it did."""
        eventually(lambda: len(self.noted("begin", name)) >= times, seconds)
        return self.noted("begin", name)

    def ended(self, name: str, times: int = 1) -> None:
        """Wait until it has ended so often."""
        eventually(lambda: len(self.noted("end", name)) >= times, PATIENCE)

    def performs(self, worker: Worker, name: str = "next") -> None:
        """Publish another message to a worker and wait until it was performed."""
        name = f"{name}-{worker.queue}"
        self.release(name)
        self.publish("hold", name, worker.queue)
        self.ended(name)

    def waiting(self, worker: Worker) -> list[str]:
        """The messages in the worker's list."""
        return [json.loads(message)["headers"]["id"] for message in self.redis.lrange(worker.queue, 0, -1)]

    def unacked(self) -> list[str]:
        """The messages that were taken and are not acknowledged."""
        return [json.loads(entry)[0]["headers"]["id"] for entry in self.redis.hvals("unacked")]

    def settle(self, *workers: Worker) -> None:
        """Wait until nothing waits for these workers, and nothing is unacknowledged by any."""
        eventually(lambda: not (self.unacked() or any(map(self.waiting, workers))), PATIENCE)

    def whereabouts(self, worker: Worker, name: str) -> str:
        """Where a message is: it runs or ran, waits in the list, is unacknowledged, or is nowhere."""
        if self.noted("begin", name):
            return "performed"
        if name in self.waiting(worker):
            return "list"
        return "unacked" if name in self.unacked() else "nowhere"

    def popping(self) -> int:
        """How many workers wait in a BRPOP, whether they move or not."""
        return self.redis.info("clients")["blocked_clients"]

    def await_quiet(self) -> None:
        """Wait until no worker asks for messages, which is more than being between two requests."""
        eventually(lambda: not any(self.popping() or time.sleep(0.02) for _ in range(10)), PATIENCE)

    def nudge(self) -> None:
        """Make every worker's event loop turn, by something that it hears from all."""
        self._app.control.broadcast("heartbeat")

    def cut(self) -> None:
        """Break every connection but our own."""
        for kind in ("normal", "pubsub"):
            self.redis.client_kill_filter(_type=kind, skipme=True)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The Valkey neither answers nor goes away."""
        os.kill(self.valkey.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.valkey.pid, signal.SIGCONT)


def remains(look: Callable[[], bool], seconds: float) -> None:
    """It is true for so long: a worker that is stuck can only be waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert look()
        time.sleep(0.05)


@contextmanager
def hazard(page: str, then: str) -> Iterator[None]:
    """What happens inside is bad, and the reason for what stands in `page`; good news if it fails."""
    assert (ROOT / page).exists()
    try:
        yield
    except AssertionError as gone:
        raise AssertionError(f"What {page} guards against did not happen. If it is gone for good, {then}.") from gone

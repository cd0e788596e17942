"""A server that takes webhooks, or does not, and keeps what it was sent."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import stripe

from sandbox.server import Reply, Request, Server

SECRET = "whsec_of_the_tests"


class Receiver:
    """Answers every delivery with `status`, or as the statuses in `answers` say, the first one first."""

    def __init__(self) -> None:
        self.status = 200
        self.answers: list[int] = []
        self.url = ""
        self._got: list[Request] = []
        self._changed = threading.Condition()

    def __call__(self, request: Request) -> Reply:
        with self._changed:
            self._got.append(request)
            status = self.answers.pop(0) if self.answers else self.status
            self._changed.notify_all()
        return Reply(status)

    def wait(self, count: int) -> list[Request]:
        """The first `count` deliveries, when they have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._got) >= count, timeout=15), len(self._got)
            return self._got[:count]

    def events(self, count: int, secret: str = SECRET) -> list[Any]:
        """The events of the first `count` deliveries, each verified by the SDK."""
        return [verified(request, secret) for request in self.wait(count)]

    def got(self) -> list[Request]:
        with self._changed:
            return list(self._got)


def verified(request: Request, secret: str = SECRET) -> Any:
    """The event of a delivery, or stripe.SignatureVerificationError."""
    return stripe.Webhook.construct_event(
        request.body, request.headers["Stripe-Signature"], secret, api_key="sk_test_nobody"
    )


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    server = Server(receiver, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.port}/hook"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

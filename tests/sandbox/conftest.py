"""One sandbox for the tests of the sandbox, a customer of its provider, and a server that takes webhooks."""

from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tests.sandbox.process import Sandbox, running_sandbox
from tests.sandbox.receiver import Receiver, running_receiver


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    yield running
    running.disarm()


@pytest.fixture
def api_key(sandbox: Sandbox) -> str:
    return sandbox.new_key()


@pytest.fixture
def client(sandbox: Sandbox, api_key: str) -> Any:
    return connect(sandbox, api_key)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def connect(sandbox: Sandbox, key: str, read_timeout: float = 2) -> Any:
    """A customer of the provider: the real SDK, which repeats nothing by itself."""
    http_client = stripe.RequestsClient(timeout=(2, read_timeout))
    addresses = {"api": sandbox.payments}
    return stripe.StripeClient(key, base_addresses=addresses, max_network_retries=0, http_client=http_client).v1

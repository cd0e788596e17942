"""One dispatcher at a time holds a queue, for as long as its connection lives."""

import pytest

from models.session import autocommit
from tests.support.processes import eventually
from workers.dispatcher.election import Election


@pytest.fixture
def candidate(database):
    """Makes dispatchers' connections with their elections; those that a test leaves open are closed after it."""
    connections = []

    def candidate(*queues):
        connection = autocommit().connect()
        connection.detach()
        connections.append(connection)
        return connection, Election(connection, queues)

    yield candidate
    for connection in connections:
        connection.close()


def test_a_queue_is_won_by_one_of_two(candidate):
    (_, first), (_, second) = candidate("default", "data"), candidate("default", "payments")
    assert first.campaign() == ("default", "data")
    assert second.campaign() == ("payments",)
    assert (first.campaign(), second.campaign()) == ((), ())
    assert second.held == ("payments",)


def test_a_queue_is_free_when_its_holders_connection_ends(candidate):
    (connection, first), (_, second) = candidate("default"), candidate("default")
    assert first.campaign() == ("default",)
    connection.close()
    # Postgres takes a moment to notice.
    assert eventually(second.campaign, 10) == ("default",)

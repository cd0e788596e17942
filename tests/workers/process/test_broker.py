"""What celeryconfig says is in effect, and our corrections stand on what Celery and kombu still are."""

import inspect
import json
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace
from uuid import uuid4

import pytest
from celery.app.defaults import SETTING_KEYS
from celery.backends.base import DisabledBackend
from celery.worker import heartbeat
from kombu import Connection, Consumer, Queue
from kombu.transport import redis
from redis import Redis
from redis.exceptions import RedisError

import celeryconfig
from embedded.valkey import Valkey
from models.lifecycle import Hint
from tasks import QUEUES
from tasks.discovery import handlers
from workers.app import app
from workers.dispatcher.messages import Publisher
from workers.process import broker

SETTINGS = {
    "accept_content": ["json"],
    "broker_channel_error_retry": True,
    "broker_connection_max_retries": None,
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_timeout": 3,
    "broker_pool_acquire_timeout": 2,
    "enable_utc": True,
    "event_serializer": "json",
    "result_accept_content": ["json"],
    "result_backend": None,
    "result_expires": None,
    "task_acks_late": False,
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_create_missing_queues": False,
    "task_default_exchange_type": "direct",
    "task_ignore_result": True,
    "task_reject_on_worker_lost": False,
    "task_retry_on_worker_lost": False,
    "task_send_sent_event": False,
    "task_serializer": "json",
    "task_store_errors_even_if_ignored": False,
    "task_time_limit": 900,
    "task_track_started": False,
    "timezone": "UTC",
    "worker_consumer": "workers.process.consumer:HintConsumer",
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_deduplicate_successful_tasks": False,
    "worker_disable_prefetch": True,
    "worker_disable_rate_limits": True,
    "worker_enable_remote_control": True,
    "worker_enable_soft_shutdown_on_idle": False,
    "worker_eta_task_limit": 100,
    "worker_hijack_root_logger": False,
    "worker_pool_start_method": "fork",
    "worker_prefetch_multiplier": 1,
    "worker_proc_alive_timeout": 30,
    "worker_redirect_stdouts": False,
    "worker_send_task_events": True,
    "worker_soft_shutdown_timeout": 0,
    "worker_state_db": None,
}
TRANSPORT = {
    "health_check_interval": 10,
    "priority_steps": [0],
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "socket_timeout": 5,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 3,
    "visibility_timeout": 600,
}
LEFT_ALONE = ("global_keyprefix", "polling_interval", "queue_order_strategy", "retry_on_timeout")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_delivery_setting_is_in_effect(name):
    assert app.conf[name] == SETTINGS[name]


@pytest.mark.parametrize("name", TRANSPORT)
def test_a_transport_option_reaches_the_connection(name):
    assert app.connection_for_read().transport_options[name] == TRANSPORT[name]


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_an_option_that_would_lose_messages_is_not_set(name):
    assert name not in celeryconfig.broker_transport_options


def test_no_result_is_stored_anywhere_but_in_postgres():
    assert type(app.backend) is DisabledBackend
    assert all(task.ignore_result for task in app.tasks.values() if task.name in handlers())


def test_celery_knows_every_setting_that_is_made():
    made = {name for name in vars(celeryconfig) if name.islower() and not name.startswith("_")}
    assert made - SETTING_KEYS == set()


def test_a_message_reaches_its_queue_alone_without_any_binding(tmp_path, monkeypatch):
    """Bindings are what a wiped Redis forgets; without one kombu would drop the message without a word."""
    with Valkey(tmp_path) as valkey:
        monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
        publisher = Publisher(app, handlers())
        for queue in QUEUES:
            publisher.publish(queue, "text.count", [Hint(uuid4(), 1)])
            publisher.publish(queue, "text.count", [Hint(uuid4(), 1)])
        publisher.close()
        with Redis.from_url(valkey.url, decode_responses=True) as client:
            assert {key: client.llen(key) for key in client.scan_iter()} == dict.fromkeys(QUEUES, 2)


@pytest.fixture
def connection(tmp_path) -> Iterator[Connection]:
    """A connection to a private Valkey with a message in `q`."""
    with Valkey(tmp_path) as valkey:
        with Connection(valkey.url, transport_options={"socket_timeout": 0.3}) as connection:
            connection.SimpleQueue("q").put("a message")
            connection.valkey_pid = valkey.pid
            yield connection


def credit_after_a_failed_ack(connection: Connection) -> bool:
    """Take the message, let its acknowledgement fail; whether another message may be taken."""
    channel = connection.default_channel
    channel.qos.prefetch_count = 1
    message = channel.basic_get("q")
    assert not channel.qos.can_consume()
    os.kill(connection.valkey_pid, signal.SIGSTOP)
    try:
        with pytest.raises(RedisError):
            message.ack()
    finally:
        os.kill(connection.valkey_pid, signal.SIGCONT)
    return channel.qos.can_consume()


def test_a_failed_acknowledgement_gives_its_credit_back(connection):
    assert redis.Channel.QoS is broker.CreditReturningQoS
    assert credit_after_a_failed_ack(connection)


def test_kombu_itself_still_keeps_it(connection, monkeypatch):
    """Should this fail, the correction is needed no more."""
    monkeypatch.setattr(redis.Channel, "QoS", redis.QoS)
    assert not credit_after_a_failed_ack(connection)


def test_what_was_acknowledged_is_gone_from_redis(connection):
    channel = connection.default_channel
    message = channel.basic_get("q")
    assert channel.client.hlen("unacked") == 1
    message.ack()
    assert channel.client.hlen("unacked") == 0
    assert channel.qos.can_consume()


def first_behind_garbage(connection: Connection) -> str:
    """Put what is no message before the message, and take whatever comes."""
    channel = connection.channel()
    channel.client.rpush("q", b"no JSON")
    taken: list[str] = []
    with Consumer(channel, [Queue("q")], callbacks=[lambda body, message: taken.append(body)], auto_declare=False):
        connection.drain_events(timeout=5)
    return taken[0]


def test_what_cannot_be_read_as_a_message_is_passed_over(connection):
    assert first_behind_garbage(connection) == "a message"


def test_to_kombu_itself_it_is_still_an_error(connection, monkeypatch):
    """Should this fail, the correction is needed no more, or the method that it replaces has changed."""
    monkeypatch.setattr(redis.Channel, "_brpop_read", broker._read)
    with pytest.raises(json.JSONDecodeError):
        first_behind_garbage(connection)


def retries_of_heartbeats() -> list[bool]:
    """Start and stop Celery's own heart; how it asked for its events to be sent."""
    retries = []
    eventer = SimpleNamespace(
        enabled=True,
        on_enabled=set(),
        on_disabled=set(),
        send=lambda event, **fields: retries.append(fields["retry"]),
    )
    timer = SimpleNamespace(call_repeatedly=lambda seconds, send, args: send(*args), cancel=lambda entry: None)
    heart = heartbeat.Heart(timer, eventer, 10)
    heart.start()
    heart.tref = True
    heart.stop()
    return retries


def test_no_heartbeat_retries_inside_the_event_loop():
    assert retries_of_heartbeats() == [False, False, False]


def test_celerys_own_heart_still_does(monkeypatch):
    """Should this fail, the correction is needed no more, or the method that it replaces has changed."""
    monkeypatch.setattr(heartbeat.Heart, "_send", broker._send)
    assert retries_of_heartbeats() == [True, True, False]
    assert list(inspect.signature(broker._send).parameters) == ["self", "event", "retry"]

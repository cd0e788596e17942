"""Celery's settings: the broker, what a message may and may not promise, and the queues.

The broker only wakes workers up. Messages are acknowledged when they are taken and never fetched ahead; what was taken
and not done is found in Postgres. The reasons stand in docs/decisions/0002-hints-with-epochs-and-early-ack.md.
"""

from socket import TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL

from kombu import Queue

from settings import get_settings as _get_settings
from tasks import QUEUES as _QUEUES

# A public name that holds the settings would be printed by `celery report`, `inspect conf` and Flower.
broker_url = _get_settings().redis_url.get_secret_value()
broker_connection_timeout = 3
broker_connection_retry = True
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_channel_error_retry = True
# Flower asks a worker eight things at once, and each asking holds one connection while it waits for a second: with
# fewer than sixteen they can all wait for each other, for ever. Connections are opened only when they are needed.
broker_pool_limit = 32
broker_pool_acquire_timeout = 2
broker_transport_options = {
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "socket_keepalive_options": {TCP_KEEPIDLE: 30, TCP_KEEPINTVL: 5, TCP_KEEPCNT: 3},
    "health_check_interval": 10,
    "visibility_timeout": 600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 3,
    "priority_steps": [0],
    "client_name": "mainstay",
}

task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
task_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]
event_serializer = "json"

result_backend = None
result_expires = None
task_ignore_result = True
task_store_errors_even_if_ignored = False
task_track_started = False

task_acks_late = False
task_acks_on_failure = True
task_acks_on_timeout = True
task_reject_on_worker_lost = False
task_retry_on_worker_lost = False
# The keeper interrupts handlers; Celery's soft limit would raise inside the engine as well, between two jobs.
task_soft_time_limit = None
task_time_limit = 900
task_default_queue = "default"
task_queues = [Queue(name) for name in _QUEUES]
task_create_missing_queues = False
task_send_sent_event = False

worker_consumer = "workers.process.consumer:HintConsumer"
worker_prefetch_multiplier = 1
worker_disable_prefetch = True
worker_cancel_long_running_tasks_on_connection_loss = False
worker_deduplicate_successful_tasks = False
worker_disable_rate_limits = True
worker_eta_task_limit = 100
worker_pool_start_method = "fork"
# A message may carry 500 jobs, so this is hours of work. Memory, in KiB, is looked at after each message: well above
# what a fresh child with the data kinds' libraries needs, or it would be replaced after every one.
worker_max_tasks_per_child = 10_000
worker_max_memory_per_child = 600_000
worker_proc_alive_timeout = 30
worker_enable_remote_control = True
worker_send_task_events = True
worker_soft_shutdown_timeout = 0
worker_enable_soft_shutdown_on_idle = False
worker_state_db = None
worker_hijack_root_logger = False
worker_redirect_stdouts = False

timezone = "UTC"
enable_utc = True

"""What Mainstay relies on in Celery, kombu, billiard and redis-py, and what it guards against, shown by experiment.

Run this folder with every upgrade of the four (`test_versions.py` reminds of it). Each experiment has real workers over
a Valkey of its own. A test of what we rely on must hold. A test of a hazard says, when the hazard is gone, which guard
may go; its part inside `hazard(...)` is the bad news, everything else must hold all the same.

| row | experiment | test | what relies on it, or exists because of it |
| --- | --- | --- | --- |
| A | worker stopped, message published, worker killed | lost_messages: a_message_that_a_killed_worker_had_taken… | decision 0001; `MAINSTAY_DISPATCH_LEASE_SECONDS` |
| B | published during a shutdown, cut short | lost_messages: a_message_published_during_a_shutdown… | decision 0002; the same lease |
| B | … that comes to its end | lost_messages: a_shutdown_that_comes_to_its_end… | `stop_grace_period` in docker-compose.yml |
| B | … once the worker asks no more | lost_messages: a_worker_that_is_stopping_soon_takes… | rolling deploys |
| C | connections cut, late acknowledgement | connection_blips: a_blip_runs_what_is_acknowledged_late… | `task_acks_late = False`, decision 0002 |
| C' | … and cancelling | connection_blips: cancelling_at_a_blip… | `worker_cancel_long_running_tasks_on_connection_loss` |
| D | wiped; restarted empty | lost_messages: workers_and_publishers_go_on… | ARCHITECTURE.md, "What dies" |
| E | publish, frozen and closed | frozen_server: the_dispatchers_publish_fails_soon… | `QUICK` in workers/dispatcher/messages.py |
| E | … by Celery's own | frozen_server: celerys_own_publish_hangs | decision 0009; `socket_timeout`; the API never publishes |
| F | task kills its child, message rejected | pool: …is_redelivered_without_end… | `task_reject_on_worker_lost = False`, the lost count |
| F | … ours | pool: …runs_once_and_spares_the_worker | `HintRequest` in workers/app.py |
| G | task raises MemoryError | pool: a_memory_error_that_leaves_a_task… | workers/attempt/execute.py lets none out |
| H | unknown name | lost_messages: a_message_of_an_unknown_name… (two) | `HintConsumer` in workers/process/consumer.py |
| I | frozen, Celery's own options | frozen_server: a_worker_with_celerys_own_options… | `broker_transport_options`, `_send_once` |
| J | frozen, ours | frozen_server: an_idle_worker_drops_the_connection… | `health_check_interval`, `socket_timeout` |
| K | hard limit, frozen | frozen_server: the_backstop_of_time_limits… | `_send_once` in workers/process/broker.py; decision 0007 |
| L | late acknowledgement fails, frozen | frozen_server: an_acknowledgement_that_fails… | `CreditReturningQoS` in workers/process/broker.py |
| M | late acknowledgement fails, restarted | connection_blips: a_restart_of_redis_ends_a_deaf_worker…, a_worker_that_listens_survives… | the same; `worker_enable_remote_control` |
| N | ours: cut, restarted, frozen while busy | connection_blips: a_blip_repeats_nothing_of_ours, a_restart_of_redis_while_it_is_busy…; frozen_server: a_worker_that_becomes_free_meanwhile… | decision 0002 as a whole |
| N | messages beside a busy worker | pool: a_busy_worker_leaves_messages_to_others… | `worker_disable_prefetch` |
| P | main process killed | pool: a_killed_worker_takes_its_children_with_it | leases end with their worker; no orphan performs |
| Q | SIGTERM, to the process and to its group | pool: sigterm_lets_a_child…, sigterm_to_the_whole_group… | `init: true` in docker-compose.yml |
| R | global key prefix | lost_messages: a_queue_that_is_there_is_found… | `LEFT_ALONE` in tests/workers/process/test_broker.py |
| S | memory full; failover (read-only, loading) | refusals (two) | `broker_channel_error_retry` |
| T | text that is no message | lost_messages: text_that_is_no_message… | `_read_or_drop` in workers/process/broker.py |

A to R are the rows of the experiments on which the design was built; S and T were added here.
"""  # noqa: E501  # a table's rows are lines

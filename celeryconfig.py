"""Celery's settings. Celery only wakes workers; jobs live in the job store (see DECISIONS.md).

This is also Celery's default configuration module, so it stays free of side effects.
"""

# JSON only: accepting pickle anywhere would let a message run code.
task_serializer = "json"
event_serializer = "json"
result_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]

# Results live in the job record.
task_ignore_result = True
task_store_errors_even_if_ignored = False

# Nothing is reserved ahead: a worker takes a wake-up only when a thread is free for it.
task_acks_late = True
worker_prefetch_multiplier = 1
worker_cancel_long_running_tasks_on_connection_loss = False

broker_transport_options = {
    # A wake-up needs no acknowledgement: no `unacked` keys, no visibility timeout, no redelivery.
    "ack_emulation": False,
    # One step: order lives in the job store, not in the broker.
    "priority_steps": [0],
    "queue_order_strategy": "priority",
    "sep": ":",
    "socket_keepalive": True,
    "health_check_interval": 10,
    # s; how long an idle worker's question for wake-ups waits for one. It is answered at once when one comes.
    "polling_interval": 5,
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
task_create_missing_queues = True
task_default_queue = "kingpost.none"

# Flower shows requests: workers send events for them; the wake-up task sends none.
worker_send_task_events = True
task_send_sent_event = False
worker_hijack_root_logger = False
worker_redirect_stdouts = False

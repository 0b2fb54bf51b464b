"""Wake-ups: ordinary Celery messages. Celery builds one, which is kept as a template.

The scripts fill in the id and the queue, and push the message onto the list that kombu reads. Each message needs an id of its own,
because the consumer tracks messages by id. A wake-up carries no job; it says that a deployment has work.
"""

import json
from typing import Any, cast

from celery import Celery
from kombu.connection import Connection

TASK_NAME = "kingpost.wake"
ID = "@ID@"
QUEUE = "@QUEUE@"


def template(app: Celery) -> str:
    """The message that `apply_async` would push, as JSON, with ID and QUEUE to fill in."""
    with Connection("memory://") as connection:
        app.send_task(TASK_NAME, queue=QUEUE, task_id=ID, connection=connection)
        channel = cast(Any, connection.default_channel)
        message = channel._get(QUEUE)  # the transport's own reading end
    message["properties"] |= {"delivery_tag": ID, "reply_to": "kingpost"}
    message["headers"]["origin"] = "kingpost"  # not this process: all processes share one script
    return json.dumps(message)

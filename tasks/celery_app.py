"""The Celery application."""

from celery import Celery

import celeryconfig
from tasks.settings import Settings
from tasks.store_address import for_celery


def make_app(settings: Settings) -> Celery:
    """A Celery application for the broker that the settings name."""
    app = Celery("kingpost", set_as_current=False)
    app.config_from_object(celeryconfig)
    app.conf.update(broker_url=for_celery(settings.redis_url))
    return app

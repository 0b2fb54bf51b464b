"""The Celery application."""

from celery import Celery

import celeryconfig
from tasks.settings import Settings


def make_app(settings: Settings) -> Celery:
    """A Celery application for the broker that the settings name."""
    app = Celery("kingpost", set_as_current=False)
    app.config_from_object(celeryconfig)
    app.conf.update(broker_url=settings.redis_url)
    return app

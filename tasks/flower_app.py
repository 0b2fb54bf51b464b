"""The Celery application as `celery -A tasks.flower_app` wants it: for Flower and Celery's own commands."""

from tasks.celery_app import make_app
from tasks.settings import Settings

app = make_app(Settings.load())

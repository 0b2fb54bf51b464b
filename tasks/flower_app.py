"""The Celery application for Flower and Celery's own commands.

`python -m tasks.flower_app flower ...` does the same as `celery -A tasks.flower_app flower ...`. But Celery puts the current
folder first on the import path, and that folder may have another `tasks.py`.
"""

import sys

from tasks.celery_app import make_app
from tasks.settings import Settings

app = make_app(Settings.load())


def _ask_for_the_password_at_metrics() -> None:
    """Flower itself asks for its password on every page except `/metrics`."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)  # type: ignore[method-assign]


if __name__ == "__main__":
    _ask_for_the_password_at_metrics()
    app.start(sys.argv[1:])

"""The Celery application for Flower and Celery's own commands.

`python -m tasks.flower_app flower ...` is `celery -A tasks.flower_app flower ...` without Celery's habit to put the
current folder before everything else, where a `tasks.py` of somebody else may lie.
"""

import sys

from tasks.celery_app import make_app
from tasks.settings import Settings

app = make_app(Settings.load())


def _ask_for_the_password_at_metrics() -> None:
    """Flower asks for it everywhere but there."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    Metrics.get = authenticated(Metrics.get)  # type: ignore[method-assign]


if __name__ == "__main__":
    _ask_for_the_password_at_metrics()
    app.start(sys.argv[1:])

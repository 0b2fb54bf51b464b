"""Computes how many replicas a deployment should have, by Baseten's settings and rule (docs.baseten.co, deployment/autoscaling)."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from tasks.errors import KingpostError


class BadSetting(KingpostError):
    """An autoscaling setting is unknown or out of its range."""


@dataclass(frozen=True)
class Autoscaling:
    """The autoscaling settings. Times are in seconds, percentages are 1..100."""

    min_replica: int = 0
    max_replica: int = 1
    autoscaling_window: int = 60
    scale_down_delay: int = 900
    max_scale_down_rate: int = 50  # % of the replicas that one step may take away
    concurrency_target: int = 1
    target_utilization_percentage: int = 70

    @classmethod
    def of(cls, values: Mapping[str, str]) -> "Autoscaling":
        """The settings from the fields of a record. Other fields are ignored."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: int(values[name]) for name in names if name in values})

    def changed(self, changes: Mapping[str, object]) -> "Autoscaling":
        """The settings with these changes. Raises BadSetting with one sentence."""
        for name, value in changes.items():
            if name not in RANGES:
                raise BadSetting(f"{name} is not an autoscaling setting.")
            least, most = RANGES[name]
            if type(value) is not int or not least <= value <= most:
                raise BadSetting(f"{name} must be a whole number from {least} to {most}.")
        new = replace(self, **changes)  # type: ignore[arg-type]
        if new.min_replica > new.max_replica:
            raise BadSetting("min_replica must not be above max_replica.")
        return new


RANGES: Mapping[str, tuple[int, int]] = {
    "min_replica": (0, 1000),
    "max_replica": (1, 1000),
    "autoscaling_window": (10, 3600),
    "scale_down_delay": (0, 3600),
    "max_scale_down_rate": (1, 50),
    "concurrency_target": (1, 10_000),
    "target_utilization_percentage": (1, 100),
}


class Scaler:
    """The recent load of one deployment, and the number of replicas that follows from it."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self._enough_until = now  # the last moment at which all replicas were needed

    def wanted(self, settings: Autoscaling, now: float, load: float, have: int) -> int:
        """The number of replicas from now on. `load` is the number of calls in flight and waiting, `have` the number of replicas so far.

        It rises at once with the average of the window. It falls only after `scale_down_delay` without need, by at most
        `max_scale_down_rate` in a step. It becomes zero only if nothing came in all that time.
        """
        self._samples.append((now, load))
        while self._samples[0][0] < now - settings.autoscaling_window:
            self._samples.popleft()
        needed = self._needed(settings, load)
        if needed >= have:
            self._enough_until = now
            return needed
        if now - self._enough_until < settings.scale_down_delay:
            return min(have, settings.max_replica)
        self._enough_until = now
        step = max(have * settings.max_scale_down_rate // 100, 1)
        return max(have - step, needed)

    def _needed(self, settings: Autoscaling, load: float) -> int:
        average = sum(value for _, value in self._samples) / len(self._samples)
        room = settings.concurrency_target * settings.target_utilization_percentage / 100
        replicas = math.ceil(
            average / room - 1e-9
        )  # less the error of floats, which would ask for one more
        needed = max(replicas, 1 if load else 0)
        return min(max(needed, settings.min_replica), settings.max_replica)

"""The options of `kingpost jobs` that say which requests a command is about."""

import functools
import inspect
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kingpost.errors import Error

if TYPE_CHECKING:
    from kingpost.steering import Filter

AGE = re.compile(r"(\d{1,6})(s|m|h|d)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
WHEN = "an age such as 30m, 2h or 7d, or a time such as 2026-01-31T12:00"


class BadFilter(Error):
    """The options do not say which requests."""


@dataclass(frozen=True)
class Wanted:
    """What the options say. None and () match any request."""

    model: str | None = None
    deployment: str | None = None
    environment: str | None = None
    status: tuple[str, ...] = ()
    level: int | None = None
    key: str | None = None
    since: datetime | None = None
    before: datetime | None = None
    error_code: str | None = None
    text: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether any option is there."""
        return self != Wanted()

    def filter(self) -> "Filter":
        """The same in the form that the client takes."""
        return {
            "model": self.model, "deployment": self.deployment, "environment": self.environment,
            "status": list(self.status) or None, "priority": self.level, "key": self.key,
            "created_after": self.since, "created_before": self.before,
            "error_code": self.error_code, "error_text": self.text,
        }  # fmt: skip

    def options(self) -> str:
        """The same as options for a shell. An age has become a time."""
        said: list[str] = []
        for entry in fields(self):
            value = getattr(self, entry.name)
            for each in value if isinstance(value, tuple) else (value,):
                if each is not None:
                    word = each.isoformat() if isinstance(each, datetime) else str(each)
                    said.append(f"--{entry.name.replace('_', '-')} {shlex.quote(word)}")
        return " ".join(said)


OPTIONS: dict[str, Any] = {
    "model": Annotated[str | None, typer.Option(help="Of this model or chain, by name or id.")],
    "deployment": Annotated[str | None, typer.Option(help="Of the deployment with this id.")],
    "environment": Annotated[
        str | None,
        typer.Option(
            "--environment", "-e", help="Of the deployment that this environment points at."
        ),
    ],
    "status": Annotated[
        list[str] | None, typer.Option(help="With this status, such as QUEUED. Repeat for more.")
    ],
    "level": Annotated[int | None, typer.Option(min=0, max=2, help="With this priority.")],
    "key": Annotated[str | None, typer.Option(help="Of the API key with this id (admins).")],
    "since": Annotated[str | None, typer.Option(help=f"Sent since then: {WHEN}.")],
    "before": Annotated[str | None, typer.Option(help="Sent before then, likewise.")],
    "error_code": Annotated[
        str | None, typer.Option(help="With this error, such as MODEL_PREDICT_ERROR.")
    ],
    "text": Annotated[str | None, typer.Option(help="With this text in an error.")],
}


def taking(
    parameter: str, options: Mapping[str, tuple[Any, Any]], make: Callable[[dict[str, Any]], Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command more options: by name, each with an annotation and a default.

    The command gets them as one argument called `parameter`: what `make` makes of their values by name.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapped(*args: Any, **kwargs: Any) -> None:
            given = {name: kwargs.pop(name) for name in options}
            command(*args, **{parameter: make(given)}, **kwargs)

        signature = inspect.signature(command)
        own = [known for name, known in signature.parameters.items() if name != parameter]
        added = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in options.items()
        ]
        first = [known for known in own if known.default is inspect.Parameter.empty]
        rest = [
            known.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for known in own
            if known not in first
        ]
        wrapped.__signature__ = signature.replace(parameters=[*first, *added, *rest])  # pyright: ignore[reportAttributeAccessIssue]
        kept = {name: kind for name, kind in command.__annotations__.items() if name != parameter}
        wrapped.__annotations__ = kept | {name: kind for name, (kind, _) in options.items()}
        return wrapped

    return decorate


def _wanted(given: dict[str, Any]) -> Wanted:
    status = tuple(word.upper() for word in given.pop("status") or ())
    since, before = (time_of(name, given.pop(name)) for name in ("since", "before"))
    return Wanted(**given, status=status, since=since, before=before)


def time_of(name: str, text: str | None) -> datetime | None:
    """A time from an age or ISO 8601, without a zone in that of this machine. Raises BadFilter."""
    if text is None:
        return None
    try:
        if age := AGE.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{UNITS[age[2]]: int(age[1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise BadFilter(f"--{name} {text} is not {WHEN}.") from None


filtered = taking("wanted", {name: (kind, None) for name, kind in OPTIONS.items()}, _wanted)

"""The files that a package wants before its model is loaded: `weights`, `model_cache` and `hf_cache`, in one form."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from deployments.config.schema import Config
from deployments.config.weights import Repository, Weights

FETCHES = "fetches"  # how the note of a replica begins that fetches weights


@dataclass(frozen=True)
class Wish:
    """The files of one source, and where the model finds them."""

    source: str  # a URL, without the revision
    revision: str = ""  # of a repository of the hub; '' = its main branch
    place: str = ""  # an absolute path; '' = in the cache of the hub, for `from_pretrained`
    secret: str = ""  # the name of the secret with the credentials
    needs_secret: bool = True  # whether a secret without a value is an error
    allow: tuple[str, ...] = ()  # patterns of the names; none = all files
    ignore: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        """ "hf", "s3", "gs", "azure", "r2", "cw" or "https"."""
        return self.source.partition("://")[0]

    @property
    def rest(self) -> str:
        """The source without its scheme."""
        return self.source.partition("://")[2].strip("/")

    def __str__(self) -> str:
        """As users write it. What a URL has after a question mark may be a signature, so it is left out."""
        shown = self.source.partition("?")[0]
        return f"{shown}@{self.revision}" if self.revision else shown


def wishes(config: Config) -> tuple[Wish, ...]:
    """What a config.yaml asks for, in its order."""
    cached = [*config.model_cache, *(config.hf_cache or [])]
    return (*_of_weights(config.weights), *map(_of_repository, cached))


def _of_weights(entries: list[Weights]) -> Iterator[Wish]:
    for entry in entries:
        source, _, revision = (
            entry.source.partition("@")
            if entry.source.startswith("hf://")
            else (entry.source, "", "")
        )
        yield Wish(
            source=source,
            revision=revision,
            place=str(PurePosixPath(entry.mount_location)),
            secret=entry.auth_secret_name or (entry.auth and entry.auth.auth_secret_name) or "",
            allow=tuple(entry.allow_patterns or ()),
            ignore=tuple(entry.ignore_patterns or ()),
        )


def _of_repository(entry: Repository) -> Wish:
    return Wish(
        source=entry.source,
        revision=entry.revision,
        place=entry.place,
        secret=entry.runtime_secret_name,
        needs_secret=False,
        allow=tuple(entry.allow_patterns or ()),
        ignore=tuple(entry.ignore_patterns or ()),
    )

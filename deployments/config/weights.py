"""The sections `weights` and `model_cache` of config.yaml: files that are fetched before a model is loaded."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from deployments.config.fates import Fate, Wanted, limited, refused
from deployments.config.types import Filled, Flag, Section, of_key
from tasks.process.mistakes import shown

BUCKETS = ("s3", "gs", "azure", "r2", "cw")
SCHEMES = ("hf", *BUCKETS, "https")
# What git allows as the name of a branch or tag, and what is left of it as a path (git-check-ref-format).
REVISION = re.compile(
    r"(?!.*(\.\.|//|/\.|@\{))[^\s/.~^:?*\[\\\x00-\x1f\x7f][^\s~^:?*\[\\\x00-\x1f\x7f]{0,253}(?<![/.])"
)
CACHE_FOLDER = "/app/model_cache"  # where Truss shows what is not in the cache of the hub
KINDS = {"gcs": "gs", "s3": "s3", "azure": "azure"}  # of `model_cache`, as schemes
NO_IDENTITY = "needs the identity that Baseten gives its machines; name a secret with keys in auth_secret_name instead."


# The method that needs it is refused, so it causes no message of its own.
Unused = Annotated[str | None, limited("is not used.", lambda _: False)]


def upper(value: object) -> object:
    """The value in upper case, as Truss reads the name of a method."""
    return value.upper() if isinstance(value, str) else value


class AuthFields(Section):
    """Credentials for a registry or bucket. Kingpost keeps them and does not use them."""

    aws_oidc_role_arn: Unused = None
    aws_oidc_region: Unused = None
    gcp_oidc_service_account: Unused = None
    gcp_oidc_workload_id_provider: Unused = None
    aws_assume_role_arn: Unused = None
    aws_assume_role_region: Unused = None


def _a_source(value: str) -> str:
    scheme, found, rest = value.partition("://")
    if not found or scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"must begin with one of {known}, not be {value!r}.")
    if not rest or rest.startswith("/"):
        raise ValueError(f"names nothing after {scheme}://.")
    if scheme in BUCKETS and "@" in rest:
        raise ValueError("has a revision after the @, which only hf:// knows.")
    if scheme == "hf" and not 1 <= len(rest.partition("@")[0].split("/")) <= 2:
        raise ValueError(f"must be like hf://owner/repository@revision, not {value!r}.")
    if scheme == "hf":
        try:
            _a_revision(rest.partition("@")[2])
        except ValueError as error:
            raise ValueError(f"has a revision after the @ that {error}") from error
    if scheme == "azure" and rest.strip("/").count("/") < 1:
        raise ValueError(f"must be like azure://account/container/path, not {value!r}.")
    if scheme == "r2" and "." not in rest.partition("/")[0]:
        raise ValueError(f"must be like r2://account_id.bucket/path, not {value!r}.")
    return value


def _a_place(value: str) -> str:
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts or "\0" in value or str(path) in ("/", "//"):
        raise ValueError(f"must be an absolute path below /, not {value!r}.")
    return value


def _a_revision(value: str) -> str:
    if len(value) == 1:
        raise ValueError("must have 2 characters or more, as in Truss.")
    if value and not REVISION.fullmatch(value):
        raise ValueError(f"must be a branch, a tag or a commit, not {shown(value)}.")
    return value


Source = Annotated[
    Filled, AfterValidator(_a_source), Wanted("a URL such as hf://owner/repository@revision")
]
Place = Annotated[Filled, AfterValidator(_a_place), Wanted("an absolute path")]


class WeightsAuth(AuthFields):
    """Credentials for a bucket."""

    auth_method: Annotated[
        Literal["CUSTOM_SECRET", "AWS_OIDC", "GCP_OIDC", "AWS_ASSUME_ROLE"],
        BeforeValidator(upper),
        refused(NO_IDENTITY, lambda value: upper(value) != "CUSTOM_SECRET"),
    ]
    auth_secret_name: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> "WeightsAuth":
        by_secret = self.auth_method == "CUSTOM_SECRET"
        if by_secret != bool(self.auth_secret_name):
            word = "is required" if by_secret else "cannot be set"
            raise of_key(f"auth_secret_name {word} with auth_method {self.auth_method}.")
        for name in AuthFields.model_fields:
            wanted = not by_secret and name.startswith(self.auth_method.lower())
            if bool(getattr(self, name)) != wanted:
                word = "is required" if wanted else "cannot be set"
                raise of_key(f"{name} {word} with auth_method {self.auth_method}.")
        return self


class Weights(Section):
    """An entry of `weights`."""

    source: Annotated[
        Source,
        Fate(
            "honoured",
            "hf:// needs the extra `weights` on the machines of the nodes; a branch or tag is looked up once for each package",
        ),
    ]
    mount_location: Annotated[
        Place,
        Fate(
            "honoured",
            "a link to a folder of read-only files, or a mount where two versions use the path at once; the node must be able to create the path",
        ),
    ]
    auth: WeightsAuth | None = None
    auth_secret_name: Annotated[
        str | None,
        Fate("honoured", "a token for hf:// and https://, else JSON as on Baseten"),
    ] = None
    allow_patterns: list[str] | None = None
    ignore_patterns: list[str] | None = None

    @model_validator(mode="after")
    def _one_secret(self) -> "Weights":
        if self.auth_secret_name and self.auth and self.auth.auth_secret_name:
            raise of_key("auth_secret_name cannot be set both here and in auth.")
        return self


class Repository(Section):
    """An entry of `model_cache`."""

    repo_id: Filled
    revision: Annotated[str, AfterValidator(_a_revision)] = ""
    allow_patterns: list[str] | None = None
    ignore_patterns: list[str] | None = None
    volume_folder: Filled | None = None
    use_volume: Flag = False
    kind: Literal["hf", "gcs", "s3", "azure"] = "hf"
    runtime_secret_name: Annotated[str, Fate("honoured", "used if there is such a secret")] = (
        "hf_access_token"
    )

    @model_validator(mode="after")
    def _complete(self) -> "Repository":
        if self.use_volume and self.volume_folder is None:
            raise of_key("volume_folder is required with use_volume.")
        if self.use_volume and self.kind == "hf" and not self.revision:
            raise of_key("revision is required with use_volume.")
        try:
            _a_source(self.source)
            if self.place:
                _a_place(self.place)
        except ValueError as error:
            raise of_key(f"repo_id {error}") from error
        return self

    @property
    def source(self) -> str:
        """The same as in `weights`, but without the revision."""
        if "://" in self.repo_id:
            return self.repo_id
        return f"{KINDS.get(self.kind, self.kind)}://{self.repo_id}"

    @property
    def place(self) -> str:
        """The folder where the files are shown. '' = in the cache of the hub, for `from_pretrained`."""
        if self.use_volume:
            return f"{CACHE_FOLDER}/{self.volume_folder}"
        scheme, _, rest = self.source.partition("://")
        return "" if scheme == "hf" else f"{CACHE_FOLDER}/{rest.partition('/')[0]}"


def check_places(weights: Sequence[Weights], cached: Sequence[Repository]) -> None:
    """Raises an error of pydantic if two sources are shown at one place, or one inside the other."""
    said = [(f"weights[{n}].mount_location", w.mount_location) for n, w in enumerate(weights)]
    said += [(f"model_cache[{n}]", c.place) for n, c in enumerate(cached) if c.place]
    taken: list[PurePosixPath] = []
    for key, place in said:
        path = PurePosixPath(place)
        for other in taken:
            if path.is_relative_to(other) or other.is_relative_to(path):
                raise of_key(
                    f"{key}: {path} and {other} overlap; each source needs a folder of its own."
                )
        taken.append(path)

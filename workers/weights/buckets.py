"""Buckets: S3 and what speaks its API, Google Cloud Storage and Azure. The secrets are JSON as on Baseten."""

import contextlib
import json
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, S3Store

from deployments.packages.weights import Wish
from workers.weights.remote import (
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    Body,
    Digest,
    Listing,
    RemoteFile,
    Unreachable,
    WeightsFailed,
    is_wanted,
    safe_name,
)
from workers.weights.web import refused

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from obstore.store import ObjectStore

PART = 16 << 20  # bytes of one request: it is read within SILENCE_SECONDS, or asked for again
CW_ENDPOINT = "https://cwobject.com"  # of CoreWeave's object storage
# Variables that lead to credentials of AWS. Without them and without a secret, a bucket is taken for a public one.
AWS_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
GOOGLE_CREDENTIALS = ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_APPLICATION_CREDENTIALS")
AZURE_CREDENTIALS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_TOKEN",
    "AZURE_FEDERATED_TOKEN_FILE",
)
ENDPOINTS = ("endpoint", "gcs_base_url")
SHAPES = {
    "gs": "the JSON of a service account",
    "azure": '{"account_key": "..."}',
}
S3_SHAPE = '{"access_key_id": "...", "secret_access_key": "...", "region": "..."}'


def listed(wish: Wish, secret: str, variables: Mapping[str, str]) -> Listing:
    """The objects at a path: the object itself, or all below it. Raises Unreachable and WeightsFailed."""
    store, path = _open(wish, secret, variables)
    with _served(wish):
        found = list(_found(store, path))
    files = [
        _file(store, wish, each, name)
        for each, name in found
        if not name.endswith("/") and is_wanted(name, wish)
    ]
    if not files:
        raise WeightsFailed(f"{wish} has no object that its patterns let through.")
    # The smallest comes first: by it an MD5 that is none is found cheaply.
    return Listing(sorted(files, key=lambda file: file.size or 0))


def _found(store: "ObjectStore", path: str) -> "Iterator[tuple[ObjectMeta, str]]":
    """The objects with their names below the path."""
    if path:
        with contextlib.suppress(FileNotFoundError):
            yield obstore.head(store, path), path.rpartition("/")[2]
            return
    for page in obstore.list(store, prefix=path or None):
        for each in page:
            yield each, each["path"].removeprefix(path).lstrip("/")


def _file(store: "ObjectStore", wish: Wish, meta: "ObjectMeta", name: str) -> RemoteFile:
    etag = meta["e_tag"] or ""
    version = etag or meta["last_modified"].isoformat()
    plain = etag.strip('"')
    # Not sure: with some encryptions of S3 it is something else. One of several parts ("...-7") is no sum of the content.
    is_md5 = wish.scheme not in ("gs", "azure") and re.fullmatch(r"[0-9a-f]{32}", plain)
    return RemoteFile(
        safe_name(name),
        meta["size"],
        f"{wish.source} {meta['path']} {version} {meta['size']}",
        _reader(store, wish, meta["path"], meta["size"], etag),
        Digest("md5", plain, sure=False) if is_md5 else None,
    )


def _reader(
    store: "ObjectStore", wish: Wish, path: str, size: int, etag: str
) -> Callable[[int], contextlib.AbstractContextManager[Body]]:
    def parts(offset: int) -> Iterator[bytes]:
        while offset < size:
            options: GetOptions = {"range": (offset, min(offset + PART, size))}
            if etag:
                options["if_match"] = etag
            part = bytes(obstore.get(store, path, options=options).bytes())
            yield part
            offset += len(part)

    @contextlib.contextmanager
    def read(offset: int) -> Generator[Body]:
        with _served(wish):
            yield Body(offset, parts(offset))

    return read


@contextlib.contextmanager
def _served(wish: Wish) -> Generator[None]:
    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise WeightsFailed(refused(str(wish), wish.secret, "access denied")) from error
    except exceptions.PreconditionError as error:
        raise Unreachable(f"{wish} changed while it was read.") from error
    except FileNotFoundError as error:
        raise WeightsFailed(f"{wish} does not exist.") from error
    except exceptions.BaseError as error:
        said = str(error)
        if re.search(r"\b40[13]\b|AccessDenied|SignatureDoesNotMatch|InvalidAccessKeyId", said):
            raise WeightsFailed(refused(str(wish), wish.secret, "access denied")) from error
        raise Unreachable(f"{wish} could not be read: {said.splitlines()[0][:300]}") from error


def _open(wish: Wish, secret: str, variables: Mapping[str, str]) -> "tuple[ObjectStore, str]":
    """The bucket, and the path in it."""
    given = _parsed(wish, secret)
    client: Any = {
        "timeout": timedelta(seconds=SILENCE_SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        # Only where the secret itself names such a server, in the key of its kind.
        "allow_http": any(given.get(key, "").startswith("http://") for key in ENDPOINTS),
    }
    retry: Any = {"max_retries": 3, "retry_timeout": timedelta(seconds=SILENCE_SECONDS)}
    bucket, _, path = wish.rest.partition("/")
    try:
        if wish.scheme == "gs":
            skip = not secret and not _any(variables, GOOGLE_CREDENTIALS)
            key: Any = {"service_account_key": secret} if secret else {}
            if skip:
                key = {"skip_signature": True}
            return GCSStore(bucket, config=key, client_options=client, retry_config=retry), path
        if wish.scheme == "azure":
            container, _, path = path.partition("/")
            config = _of_azure(bucket, given, variables)
            return AzureStore(
                container, config=config, client_options=client, retry_config=retry
            ), path
        account, dot, name = bucket.partition(".")
        is_r2 = wish.scheme == "r2" and dot
        store = S3Store(
            name if is_r2 else bucket,
            config=_of_s3(wish, given, variables, account if is_r2 else ""),
            client_options=client,
            retry_config=retry,
            credential_provider=_keys(given),
        )
        return store, path
    except (exceptions.BaseError, ValueError) as error:
        said = str(error).splitlines()[0][:300]
        raise WeightsFailed(f"{wish} could not be opened: {said}") from error


def _of_s3(wish: Wish, given: Mapping[str, str], variables: Mapping[str, str], account: str) -> Any:
    region = (
        given.get("region") or variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION")
    )
    config: dict[str, object] = {
        "region": region or ("auto" if account else "us-east-1"),
    }
    if account:
        config["endpoint"] = f"https://{account}.r2.cloudflarestorage.com"
    elif wish.scheme == "cw":
        config["endpoint"] = CW_ENDPOINT
    if given.get("endpoint"):
        config["endpoint"] = given["endpoint"]
    if not given.get("access_key_id") and not _any(variables, AWS_CREDENTIALS):
        return {**config, "skip_signature": True}
    return config


def _keys(given: Mapping[str, str]) -> Any:
    """Gives the keys of a secret to the store, which then looks at no variable for them. None without keys."""
    if not given.get("access_key_id"):
        return None
    keys = {
        "access_key_id": given["access_key_id"],
        "secret_access_key": given.get("secret_access_key", ""),
        "token": given.get("session_token") or given.get("aws_session_token"),
        "expires_at": None,
    }
    return lambda: keys


def _of_azure(account: str, given: Mapping[str, str], variables: Mapping[str, str]) -> Any:
    config: dict[str, object] = {"account_name": account}
    for name in ("account_key", "endpoint"):
        if given.get(name):
            config[name] = given[name]
    if not given.get("account_key") and not _any(variables, AZURE_CREDENTIALS):
        config["skip_signature"] = True
    return config


def _any(variables: Mapping[str, str], names: tuple[str, ...]) -> bool:
    return any(variables.get(name) for name in names)


def _parsed(wish: Wish, secret: str) -> Mapping[str, str]:
    """The secret as a mapping of texts. Raises WeightsFailed, which does not repeat the secret."""
    if not secret:
        return {}
    shape = SHAPES.get(wish.scheme, S3_SHAPE)
    try:
        found = json.loads(secret)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise WeightsFailed(f"The secret {wish.secret} for {wish} must be {shape}.")
    return {str(k): str(v) for k, v in cast("dict[object, object]", found).items() if v}

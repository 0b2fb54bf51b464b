"""Files over HTTPS: a single URL, and the files of the hub."""

import contextlib
import re
import uuid
from collections.abc import Callable, Generator, Mapping
from urllib.parse import unquote, urlsplit

import httpx

from deployments.packages.weights import Wish
from tasks.outside_text import whole_number
from workers.weights.remote import (
    CHUNK,
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    Body,
    Digest,
    Listing,
    RemoteFile,
    Unreachable,
    WeightsFailed,
    safe_name,
)

# Headers with the SHA-256 of the whole content: of the hub, and of Artifactory.
SUMS = ("x-linked-etag", "x-checksum-sha256")
PLAIN = {
    "Accept-Encoding": "identity"
}  # the bytes as they are stored, so that a part can be added to a part
REFUSED = (401, 403)
PARTIAL, PAST_THE_END, TOO_MANY, SERVERS_FAULT = 206, 416, 429, 500


def listed(wish: Wish, token: str) -> Listing:
    """The file of a URL. A token is sent as a bearer token. Raises Unreachable and WeightsFailed."""
    url = wish.source
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    name = safe_name(unquote(urlsplit(url).path).rpartition("/")[2] or "file")
    with _answer("HEAD", url, {**PLAIN, **headers}) as head:
        if head.status_code in (405, 501) or (head.status_code in REFUSED and not token):
            # A URL that was signed for GET refuses HEAD.
            with _answer("GET", url, {**PLAIN, **headers, "Range": "bytes=0-0"}) as got:
                return Listing([_described(wish, name, got, headers)])
        return Listing([_described(wish, name, head, headers)])


def _described(
    wish: Wish, name: str, answer: httpx.Response, headers: Mapping[str, str]
) -> RemoteFile:
    _check(answer, str(wish), wish.secret)
    said = answer.headers
    size = _size(answer)
    digest = next(
        (
            Digest("sha256", found)
            for header in SUMS
            if re.fullmatch(r"[0-9a-f]{64}", found := said.get(header, "").strip('"').lower())
        ),
        None,
    )
    etag = said.get("etag", "")
    version = etag or said.get("last-modified", "")
    # Without a version the content may change at any time: it is fetched again for each package.
    identity = f"web {wish.source} {version or uuid.uuid4()} {size}"
    if digest:
        identity = f"sha256 {digest.value}"
    strong = etag if etag and not etag.startswith("W/") else ""
    read = reader(wish.source, headers, wish, strong, resumes=bool(strong or digest))
    return RemoteFile(name, size, identity, read, digest)


def _size(answer: httpx.Response) -> int | None:
    whole = answer.headers.get("content-length", "")
    if answer.status_code == PARTIAL:
        whole = answer.headers.get("content-range", "").rpartition("/")[2]
    return whole_number(whole)


Reader = Callable[[int], contextlib.AbstractContextManager[Body]]


def reader(
    url: str, headers: Mapping[str, str], wish: Wish, etag: str = "", resumes: bool = True
) -> Reader:
    """Reads a URL from an offset on. With an `etag` a changed file is read from its beginning."""

    @contextlib.contextmanager
    def read(offset: int) -> Generator[Body]:
        wanted = {**PLAIN, **headers}
        if offset and resumes:
            wanted["Range"] = f"bytes={offset}-"
            if etag:
                wanted["If-Range"] = etag
        with _answer("GET", url, wanted) as answer:
            if answer.status_code == PAST_THE_END:
                yield Body(offset, iter(()))  # all of it is here
                return
            _check(answer, str(wish), wish.secret)
            partial = answer.status_code == PARTIAL
            with _reached(url):
                yield Body(offset if partial else 0, answer.iter_raw(CHUNK))

    return read


@contextlib.contextmanager
def _answer(method: str, url: str, headers: Mapping[str, str]) -> Generator[httpx.Response]:
    limits = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    # A redirect to another host loses the Authorization header, which httpx sees to.
    with (
        httpx.Client(timeout=limits, follow_redirects=True) as client,
        _reached(url),
        client.stream(method, url, headers=dict(headers)) as answer,
    ):
        yield answer


@contextlib.contextmanager
def _reached(url: str) -> Generator[None]:
    try:
        yield
    except (httpx.TransportError, httpx.TooManyRedirects, httpx.InvalidURL) as error:
        why = str(error) or type(error).__name__
        raise Unreachable(f"{urlsplit(url).hostname} could not be read: {why}") from error


def _check(answer: httpx.Response, what: str, secret: str) -> None:
    code = answer.status_code
    if code in REFUSED:
        raise WeightsFailed(refused(what, secret, code))
    if code in (404, 410):
        raise WeightsFailed(f"{what} does not exist (HTTP {code}).")
    if code == TOO_MANY or code >= SERVERS_FAULT:
        raise Unreachable(f"{what} could not be read: its server answered with {code}.")
    if not answer.is_success:
        raise WeightsFailed(f"{what} could not be read: its server answered with {code}.")


def refused(what: str, secret: str, code: int | str) -> str:
    """The sentence for credentials that are missing or wrong."""
    if secret:
        return f"{what} may not be read with the secret {secret} ({code}); check its value."
    return (
        f"{what} may not be read without credentials ({code}); name a secret in auth_secret_name."
    )

"""Servers of weights over real HTTP: one speaks the API of the Hugging Face hub, one that of S3."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LARGE = 1000  # bytes; from here on a repository keeps a file by its SHA-256


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Faults:
    """What goes wrong, by the last part of a path. Each happens once, but `corrupt` stays."""

    cut_at: dict[str, int] = field(
        default_factory=dict[str, int]
    )  # bytes after which the line is cut
    corrupt: set[str] = field(default_factory=set[str])
    corrupt_once: set[str] = field(default_factory=set[str])
    hold: dict[str, threading.Event] = field(default_factory=dict[str, threading.Event])
    down: bool = False  # 503 for everything


@dataclass
class Server:
    """A server, what it was asked, and its faults. `sent` counts the bytes of each file's content."""

    url: str = ""
    faults: Faults = field(default_factory=Faults)
    asked: "Counter[str]" = field(default_factory=Counter[str])  # "GET /path", without the query
    ranges: list[str] = field(default_factory=list[str])  # of GETs that had one
    sent: "Counter[str]" = field(default_factory=Counter[str])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])  # by path
    token: str = ""  # without it nobody reads anything

    def gets(self, name: str) -> int:
        """How often the content of a file with that name was asked for."""
        return sum(
            n for said, n in self.asked.items() if said.startswith("GET") and said.endswith(name)
        )


class Handler(BaseHTTPRequestHandler):
    """Answers with files, whole or in part."""

    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.asked[f"{self.command} {path}"] += 1
        if self.state.faults.down:
            self.say(503, b"down")
        else:
            self.answer(path, parse_qs(urlsplit(self.path).query))

    def answer(self, path: str, query: dict[str, list[str]]) -> None:
        """Serves a plain file."""
        content = self.state.files.get(path)
        if self.state.token and self.headers.get("Authorization") != f"Bearer {self.state.token}":
            self.say(401, b"who are you?")
        elif content is None:
            self.say(404, b"no such file")
        else:
            self.give(path, content, {"ETag": f'"{git_hash(content)}"'})

    def say(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """A whole answer."""
        self.send_response(code)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def give(self, path: str, content: bytes, headers: dict[str, str]) -> None:
        """The content of a file from where it is asked for, with the faults that are due."""
        name, faults = path.rpartition("/")[2], self.state.faults
        code, start, end = 200, 0, len(content)
        said = self.headers.get("Range")
        if said:
            self.state.ranges.append(said)
            first, _, last = said.removeprefix("bytes=").partition("-")
            start, end, code = int(first), int(last) + 1 if last else end, 206
            end = min(end, len(content))
            headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
            if start >= len(content):
                self.say(416, b"")
                return
        if name in faults.corrupt | faults.corrupt_once and self.command == "GET":
            faults.corrupt_once.discard(name)
            content = bytes(len(content))
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(end - start)}.items():
            self.send_header(key, value)
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = faults.cut_at.get(name)
        until = end if cut is None or self.state.faults.cut_at.pop(name) < start else cut
        self.wfile.write(content[start:until])
        self.wfile.flush()
        self.state.sent[name] += until - start
        if name in faults.hold:
            faults.hold[name].wait(60)
        if until < end:
            self.close_connection = True
            self.connection.shutdown(2)


class HubHandler(Handler):
    """The hub: `files` are at /owner/name/FILE, and every repository has one commit."""

    def answer(self, path: str, query: dict[str, list[str]]) -> None:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve(f"/{parts[0]}/{parts[1]}/{'/'.join(parts[4:])}")
        elif parts[0] == "cdn":
            self.give(path, next(c for c in self.state.files.values() if sha256(c) == parts[1]), {})
        else:
            self.say(404, b"")

    def _info(self, repository: str, revision: str) -> None:
        server = cast("Hub", self.state)
        files = server.of(repository)
        error = ""
        if self._is_wrong():
            error = "RepoNotFound"
        elif repository in server.gated:
            error = "GatedRepo"
        elif not files:
            error = "RepoNotFound"
        elif revision not in ("main", "v1", server.commit(repository)):
            error = "RevisionNotFound"
        if error:
            code = {"GatedRepo": 403, "RepoNotFound": 401, "RevisionNotFound": 404}[error]
            self.say(code, b"{}", {"X-Error-Code": error, "X-Error-Message": error})
            return
        siblings: list[dict[str, object]] = []
        for name, content in files.items():
            sibling: dict[str, object] = {
                "rfilename": name,
                "size": len(content),
                "blobId": git_hash(content),
            }
            if len(content) >= LARGE:
                sibling["lfs"] = {
                    "sha256": sha256(content),
                    "size": len(content),
                    "pointerSize": 130,
                }
            siblings.append(sibling)
        said = {
            "id": repository,
            "modelId": repository,
            "sha": server.commit(repository),
            "siblings": siblings,
        }
        self.say(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def _resolve(self, path: str) -> None:
        content = self.state.files.get(path)
        if self._is_wrong():
            self.say(401, b"", {"X-Error-Code": "RepoNotFound"})
        elif content is None:
            self.say(404, b"", {"X-Error-Code": "EntryNotFound"})
        elif len(content) >= LARGE:  # as the hub does, to a host that needs no token
            where = f"/cdn/{sha256(content)}/{path.rpartition('/')[2]}"
            self.say(302, b"", {"Location": f"{self.state.url}{where}"})
        else:
            self.give(path, content, {"ETag": f'"{git_hash(content)}"'})

    def _is_wrong(self) -> bool:
        said = self.headers.get("Authorization", "")
        return bool(self.state.token) and said != f"Bearer {self.state.token}"


@dataclass
class Hub(Server):
    """The state of a hub."""

    gated: set[str] = field(default_factory=set[str])
    commits: dict[str, str] = field(default_factory=dict[str, str])  # said in place of the real one

    def put(self, repository: str, **files: bytes) -> None:
        """Adds a repository. In the names "__" stands for a dot and "___" for a slash."""
        for name, content in files.items():
            self.files[f"/{repository}/{name.replace('___', '/').replace('__', '.')}"] = content

    def of(self, repository: str) -> dict[str, bytes]:
        """The files of a repository by name."""
        start = f"/{repository}/"
        return {p.removeprefix(start): c for p, c in self.files.items() if p.startswith(start)}

    def commit(self, repository: str) -> str:
        """The one commit of a repository, which its content decides unless `commits` has another."""
        said = repr(sorted(self.of(repository).items()))
        return self.commits.get(repository) or hashlib.sha1(said.encode()).hexdigest()


class BucketHandler(Handler):
    """S3 and Google's XML API: GetObject, HeadObject and ListObjectsV2, path style; Azure's list. Objects are at /bucket/key."""

    def answer(self, path: str, query: dict[str, list[str]]) -> None:
        said = self.headers.get("Authorization", "")
        if self.state.token and f"Credential={self.state.token}/" not in said:
            code, word = (
                403,
                b"<Error><Code>InvalidAccessKeyId</Code><Message>who?</Message></Error>",
            )
            self.say(code, b"" if self.command == "HEAD" else word)
        elif query.get("comp") == ["list"]:
            self._list_azure(path.strip("/"), query.get("prefix", [""])[0])
        elif "list-type" in query:
            self._list(path.strip("/"), query.get("prefix", [""])[0])
        elif path not in self.state.files:
            self.say(
                404, b"" if self.command == "HEAD" else b"<Error><Code>NoSuchKey</Code></Error>"
            )
        else:
            content = self.state.files[path]
            etag = cast("Bucket", self.state).etag(content)
            if "x-ms-version" in self.headers:
                etag = sha256(content)[:16]
            if self.headers.get("If-Match", etag) != etag:
                self.say(412, b"<Error><Code>PreconditionFailed</Code></Error>")
                return
            self.give(path, content, {"ETag": etag})

    def _list_azure(self, container: str, prefix: str) -> None:
        start = f"/{container}/"
        rows = "".join(
            f"<Blob><Name>{escape(path.removeprefix(start))}</Name><Properties><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified>"
            f"<Content-Length>{len(content)}</Content-Length><Content-Type>x/y</Content-Type><Etag>{sha256(content)[:16]}</Etag></Properties></Blob>"
            for path, content in sorted(self.state.files.items())
            if path.startswith(start + prefix)
        )
        body = f'<?xml version="1.0"?><EnumerationResults><Prefix>{escape(prefix)}</Prefix><Blobs>{rows}</Blobs><NextMarker/></EnumerationResults>'
        self.say(200, body.encode(), {"Content-Type": "application/xml"})

    def _list(self, bucket: str, prefix: str) -> None:
        start = f"/{bucket}/"
        rows = "".join(
            f"<Contents><Key>{escape(path.removeprefix(start))}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>{escape(cast('Bucket', self.state).etag(content))}</ETag><Size>{len(content)}</Size></Contents>"
            for path, content in sorted(self.state.files.items())
            if path.startswith(start + prefix)
        )
        body = f'<?xml version="1.0"?><ListBucketResult><Name>{bucket}</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>'
        self.say(200, body.encode(), {"Content-Type": "application/xml"})


@dataclass
class Bucket(Server):
    """The state of a bucket."""

    encrypted: bool = False  # then an ETag is no MD5

    def etag(self, content: bytes) -> str:
        """What S3 says of a content."""
        found = hashlib.md5(content).hexdigest()
        return f'"{found[::-1] if self.encrypted else found}"'


T = TypeVar("T", bound=Server)


@contextmanager
def serving(state: T, handler: type[Handler]) -> Iterator[T]:
    """Serves on a free port of the loopback address."""
    bound = type("Bound", (handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        for event in state.faults.hold.values():
            event.set()
        server.shutdown()
        server.server_close()
        thread.join()

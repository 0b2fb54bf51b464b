"""Checks AWS' Signature Version 4, with which clients of S3 sign a request."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=([0-9a-f]{{32}})/(\d{{8}})/([a-z0-9-]{{1,40}})/s3/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]{1,2000}), ?Signature=([0-9a-f]{64})"
)
TIME = "%Y%m%dT%H%M%SZ"
SKEW = timedelta(minutes=15)  # as AWS
UNRESERVED = "-_.~"
MUST_SIGN = {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"}


@dataclass(frozen=True)
class SignedRequest:
    """What of a request is signed. The path and the query are as they came; names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Signature:
    """An `Authorization` header."""

    access_key: str
    day: str
    region: str
    headers: tuple[str, ...]
    value: str

    @classmethod
    def read(cls, header: str) -> "Signature | None":
        """The signature of a header, None if it is none, or does not cover what it must."""
        match = AUTHORIZATION.fullmatch(header)
        if match is None:
            return None
        access_key, day, region, headers, value = match.groups()
        names = tuple(headers.split(";"))
        if not set(names) >= MUST_SIGN:
            return None
        return cls(access_key, day, region, names, value)

    def is_of(self, asked: SignedRequest, secret: str) -> bool:
        """Whether the holder of that secret signed this request."""
        expected = hmac.new(self._key(secret), self._signed(asked).encode(), hashlib.sha256)
        return hmac.compare_digest(expected.hexdigest(), self.value)

    def _key(self, secret: str) -> bytes:
        key = f"AWS4{secret}".encode()
        for word in (self.day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        return key

    def _signed(self, asked: SignedRequest) -> str:
        headers = [f"{name}:{_folded(asked.headers.get(name, ''))}" for name in self.headers]
        parts = [asked.method, asked.path, _canonical(asked.query), *headers, ""]
        parts += [";".join(self.headers), asked.headers.get("x-amz-content-sha256", "")]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        scope = f"{self.day}/{self.region}/s3/aws4_request"
        return "\n".join((ALGORITHM, asked.headers.get("x-amz-date", ""), scope, digest))

    def is_recent(self, asked: SignedRequest, now: datetime) -> bool:
        """Whether it was signed now, as far as the client's clock goes."""
        said = asked.headers.get("x-amz-date", "")
        try:
            signed = datetime.strptime(said, TIME).replace(tzinfo=UTC)
        except ValueError:
            return False
        return said.startswith(self.day) and abs(now - signed) <= SKEW


def _folded(value: str) -> str:
    return " ".join(value.split())


def _canonical(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    return "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs))


def _encoded(part: str) -> str:
    return quote(unquote(part), safe=UNRESERVED)

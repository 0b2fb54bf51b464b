"""A collector of traces in the test's own process: it takes OTLP over HTTP, as OpenTelemetry's exporters send it."""

import gzip
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Seen:
    """One span, as it was sent. Ids are hexadecimal, times in nanoseconds."""

    name: str
    service: str
    id: str
    parent: str
    trace: str
    began: int
    ended: int
    failed: bool
    links: tuple[str, ...]  # traces
    attributes: dict[str, Any]


@dataclass
class Collector:
    """Notes what comes; `raw` is all of it, for those who look for what must not be there."""

    spans: list[Seen] = field(default_factory=list[Seen])
    raw: list[bytes] = field(default_factory=list[bytes])
    url: str = ""

    def of(self, trace: str) -> list[Seen]:
        """The spans of one trace, in the order of their beginnings."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda s: s.began)

    def take(self, body: bytes) -> None:
        """Notes one export."""
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_seen(span, service) for span in scope.spans]

    def start(self) -> ThreadingHTTPServer:
        """Listens on loopback until the server is shut down."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                zipped = self.headers.get("content-encoding") == "gzip"
                collector.take(gzip.decompress(body) if zipped else body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def _seen(span: Any, service: str) -> Seen:
    return Seen(
        span.name,
        service,
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        tuple(link.trace_id.hex() for link in span.links),
        _values(span.attributes),
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in attributes}

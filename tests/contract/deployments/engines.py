"""A small engine that speaks OpenAI's shape, with Python's library alone, as packages that a start command serves."""

import sys
import textwrap
from pathlib import Path

ENGINE = """
import http.server, json, pathlib, sys, threading, time

VERSION, FOLDER = sys.argv[2], pathlib.Path(".")

class Engine(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        ill = self.path == "/live" and (FOLDER / "ill").exists()
        self.answer({"path": self.path}, 500 if ill else 200)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = {"id": "c1", "object": "chat.completion", "model": asked.get("model"), "version": VERSION,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": VERSION}}]}
        time.sleep(asked.get("seconds", 0))
        if not asked.get("stream"):
            return self.answer(said)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(5):
            self.chunk(f"data: {json.dumps({**said, 'n': number})}\\n\\n")
            time.sleep(0.02)
        self.chunk("data: [DONE]\\n\\n")
        self.chunk("")

    def chunk(self, text):
        self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(text), text.encode()))

    def answer(self, said, status=200):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

Server(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
"""


def engine_package(
    folder: Path, name: str, version: str, port: str = "{port}", runtime: str = ""
) -> Path:
    """A package whose command serves the engine at that port. `runtime` has further keys of its section."""
    folder.mkdir(parents=True)
    (folder / "engine.py").write_text(textwrap.dedent(ENGINE))
    fixed = port if port.isdigit() else "8000"
    (folder / "config.yaml").write_text(f"""
model_name: {name}
runtime: {{predict_concurrency: 8, {runtime}}}
docker_server:
  start_command: exec {sys.executable} engine.py {port} {version}
  server_port: {fixed}
  predict_endpoint: /v1/chat/completions
  readiness_endpoint: /ready
  liveness_endpoint: /live
""")
    return folder

"""A server of your own, here with Python's library alone. Any other program that speaks HTTP does as well."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1])  # as the start_command of config.yaml has it


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Whether the server is ready."""
        self.answer({"ready": self.path == "/ready"}, 200 if self.path == "/ready" else 404)

    def do_POST(self):
        """POST /predict: runs the model."""
        given = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.answer({"text": f"Hello, {given['name']}!"})

    def answer(self, said, status=200):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()

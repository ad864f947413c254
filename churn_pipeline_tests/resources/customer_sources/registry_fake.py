"""A schema registry in this process, over real HTTP: what it answers, and the ways in which it does not."""

from __future__ import annotations

import base64
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class FakeRegistry:
    """Confluent's answers to the two questions that are asked; as a context it listens.

    Attributes:
        asked: paths, in the order in which they were asked for.
        user: name and password that it wants; None: it asks nobody.
        answer: what it says instead of the truth, status and body.
        silent: accept connections and say nothing.
        moved_to: redirect to the same path there.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.authorizations: list[str | None] = []
        self.user: tuple[str, str] | None = None
        self.answer: tuple[int, bytes] | None = None
        self.silent = False
        self.moved_to: str | None = None
        self._by_path: dict[str, dict[str, Any]] = {}
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # closing waits for its answers, so that no socket is left open
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def url(self) -> str:
        """Where its paths begin."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def register(
        self,
        schema: Any,
        kind: str | None = None,
        subject: str = "customers-value",
        references: list[tuple[str, int]] | None = None,
    ) -> int:
        """Keep a schema, as its text or as what that means; returns its id."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        known: dict[str, Any] = {"schema": text}
        if kind is not None:
            known["schemaType"] = kind
        if references:
            known["references"] = [{"name": s, "subject": s, "version": v} for s, v in references]
        schema_id = 1 + sum(path.startswith("/schemas/") for path in self._by_path)
        version = 1 + sum(path.startswith(f"/subjects/{subject}/") for path in self._by_path)
        self._by_path[f"/schemas/ids/{schema_id}"] = known
        self._by_path[f"/subjects/{subject}/versions/{version}"] = known | {"subject": subject, "version": version}
        return schema_id

    def close(self) -> None:
        """Listen no longer."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer_to(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        self.authorizations.append(authorization)
        if self.answer:
            return self.answer
        if self.user and authorization != f"Basic {base64.b64encode(':'.join(self.user).encode()).decode()}":
            return 401, b'{"error_code":40101,"message":"Unauthorized"}'
        if path in self._by_path:
            return 200, json.dumps(self._by_path[path]).encode()
        if re.fullmatch(r"/schemas/ids/\d+", path):
            return 404, b'{"error_code":40403,"message":"Schema not found"}'
        return 404, b'{"error_code":404,"message":"HTTP 404 Not Found"}'

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if registry.silent:
                    registry._closing.wait()
                    return
                status, body = registry._answer_to(self.path, self.headers.get("Authorization"))
                self.send_response(302 if registry.moved_to else status)
                if registry.moved_to:
                    self.send_header("Location", registry.moved_to + self.path)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def framed(schema_id: int, payload: bytes) -> bytes:
    """A message as Confluent's serializers write it."""
    return b"\0" + schema_id.to_bytes(4, "big") + payload

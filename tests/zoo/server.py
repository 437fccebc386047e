"""A web server on 127.0.0.1 that misbehaves as told, and counts what it is asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Behaviour:
    """How the server answers a path.

    Attributes:
        body: the file.
        status: answer with this status instead of the file.
        ranges: understand the Range header.
        etag: validator; None sends none.
        cut_after: close the connection after so many bytes of each of the first `cuts` answers.
        content_type: of the answer.
        redirect: answer with a redirect to this address.
    """

    body: bytes = b""
    status: int = 200
    ranges: bool = True
    etag: str | None = '"v1"'
    cut_after: int | None = None
    cuts: int = 0
    length: bool = True
    content_type: str = "application/octet-stream"
    redirect: str | None = None


@dataclass
class Server:
    """The running server: `paths` may be changed between requests, `requests` keeps what came."""

    url: str
    paths: dict[str, Behaviour] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def add(self, path: str, body: bytes = b"", **behaviour) -> str:
        self.paths[path] = Behaviour(body=body, **behaviour)
        return f"{self.url}{path}"

    def headers(self, name: str) -> list[str | None]:
        """Return the value of a header in each request so far."""
        return [headers.get(name) for _, headers in self.requests]


@contextmanager
def serve() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args) -> None:
            pass

        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers)))
            behaviour = server.paths.get(self.path)
            if behaviour is None:
                self.send_error(404)
                return
            if behaviour.redirect is not None:
                self._head(302, {"Location": behaviour.redirect, "Content-Length": "0"})
                return
            if behaviour.status != 200:
                self.send_error(behaviour.status)
                return
            self._file(behaviour)

        def _file(self, behaviour: Behaviour) -> None:
            body, status, headers = behaviour.body, 200, {}
            wanted = self.headers.get("Range")
            fresh = self.headers.get("If-Range") in (None, behaviour.etag)
            if wanted and behaviour.ranges and fresh:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                if start >= len(body):
                    self._head(416, {"Content-Length": "0"})
                    return
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
            if behaviour.etag:
                headers["ETag"] = behaviour.etag
            if behaviour.length:
                headers["Content-Length"] = str(len(body))
            headers["Content-Type"] = behaviour.content_type
            headers["Connection"] = "close"
            self._head(status, headers)
            if behaviour.cut_after is not None and behaviour.cuts > 0:
                behaviour.cuts -= 1
                body = body[: behaviour.cut_after]
            self.wfile.write(body)
            self.close_connection = True

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_args: None  # a client that hangs up is not news
        server = Server(url=f"http://127.0.0.1:{http.server_address[1]}")
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()

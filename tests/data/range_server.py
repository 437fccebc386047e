"""A web server on 127.0.0.1 for a folder, with or without ranges; it counts what it sends."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


@dataclass
class RangeServer:
    """The running server.

    Attributes:
        url: its address.
        ranges: whether it understands the Range header.
        failures: answer so many of the next requests for tars with 503.
        sent: (path, number of bytes) of every answer with a body.
    """

    url: str
    ranges: bool = True
    failures: int = 0
    sent: list[tuple[str, int]] = field(default_factory=list)


@contextmanager
def serve_folder(folder: Path) -> Iterator[RangeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args) -> None:
            pass

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, *, with_body: bool) -> None:
            path = folder / unquote(self.path.lstrip("/"))
            if path.suffix == ".tar" and server.failures > 0:
                server.failures -= 1
                self._head(503, {"Content-Length": "0"})
                return
            if not path.is_file():
                self._head(404, {"Content-Length": "0"})
                return
            body, status, headers = path.read_bytes(), 200, {}
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if server.ranges:
                headers["Accept-Ranges"] = "bytes"
            if match and server.ranges:
                start, end = int(match[1]), min(int(match[2] or len(body)) + 1, len(body))
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
                body, status = body[start:end], 206
            self._head(status, {**headers, "Content-Length": str(len(body))})
            if with_body:
                server.sent.append((path.name, len(body)))
                self.wfile.write(body)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_args: None  # a client that hangs up is not news
        server = RangeServer(url=f"http://127.0.0.1:{http.server_address[1]}")
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            http.shutdown()

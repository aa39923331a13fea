"""A webhook receiver on this machine: where the demo's alarms are delivered."""

import http.server
import threading
from types import TracebackType
from typing import Any, Self

import msgspec


class Receiver:
    """Listens on a free loopback port and keeps every message that it is sent."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                receiver._take(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing on the terminal."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="receiver", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The address in the form that an alert channel has."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/alerts"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """What has arrived so far, oldest first."""
        with self._lock:
            return list(self._messages)

    def _take(self, body: bytes) -> None:
        with self._lock:
            self._messages.append(msgspec.json.decode(body))

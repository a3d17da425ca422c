"""A webhook on loopback that keeps what it is sent, and can refuse it or leave it without an answer."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from waiting import until

SECRET = "t0ken-of-mine"


class Webhook:
    """What came, and how to answer: `status`, or nothing at all while `hangs`."""

    def __init__(self) -> None:
        self.status = 200
        self.hangs = False
        self.posted: list[dict[str, Any]] = []
        self.called: list[str] = []
        self.refused = 0
        self.port = 0

    @property
    def channel(self) -> str:
        """Its address as apprise writes it, with more patience than a busy machine needs."""
        return f"json://127.0.0.1:{self.port}/{SECRET}?cto=60&rto=300"

    @property
    def url(self) -> str:
        """Its address as a heartbeat's."""
        return f"http://127.0.0.1:{self.port}/{SECRET}?source=feed"

    @property
    def titles(self) -> list[str]:
        return [each["title"] for each in self.posted]

    def wait_for(self, count: int) -> None:
        """Until so many messages have come."""
        until(lambda: len(self.posted) >= count)
        assert len(self.posted) == count


@contextmanager
def serving() -> Iterator[Webhook]:
    """A webhook that listens."""
    hook, over = Webhook(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self._answers():
                hook.called.append(self.path)

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._answers():
                hook.posted.append(sent)

        def _answers(self) -> bool:
            if hook.hangs:
                over.wait()
                return False
            hook.refused += hook.status != 200
            self.send_response(hook.status)
            self.end_headers()
            return hook.status == 200

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()

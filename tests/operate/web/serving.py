"""A page served in this process, for tests and pictures."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlencode

from barfeed.operate.metrics.server import Address
from barfeed.operate.web.live import Live, Watched
from barfeed.operate.web.server import Door, bound, server
from page_world import PageWorld
from waiting import until


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Page:
    """A page that is served while it is asked."""

    def __init__(self, world: PageWorld, lock_timeout_sec: float = 5.0) -> None:
        self.world = world
        self.sources = world.sources(lock_timeout_sec)
        self.port = 0

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def served(self, token: str = "", proxy_header: str = "") -> Iterator["Page"]:
        """Answer at the same address whenever it is served again."""
        door = Door(Address("127.0.0.1", self.port), token, proxy_header)
        taken = bound(door)
        self.port = taken.getsockname()[1]
        world = self.world
        live = Live(Watched(world.root, self.sources.looks.held, world.folder / "feed.log"))
        serving = server(self.sources, live, door, taken)
        thread = Thread(target=serving.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        until(lambda: serving.started)
        try:
            yield self
        finally:
            serving.should_exit = True
            thread.join()
            taken.close()

    def get(
        self,
        path: str,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> Answer:
        """Ask for one address."""
        address = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        request = urllib.request.Request(address, method=method, headers=dict(headers or {}))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StaysHere())
        try:
            with opener.open(request, timeout=60) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, dict(refused.headers), refused.read())

    def ask(self, view: str, **query: object) -> Any:
        """A view's answer, which must be one."""
        answer = self.get(f"/api/{view}", query)
        assert answer.status == 200, answer.body
        return answer.json()


class _StaysHere(urllib.request.HTTPRedirectHandler):
    """Shows where it is sent, and does not go."""

    def redirect_request(self, *_: Any) -> None:
        return None


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Another process has the store, as a notebook that was left open."""
    hold = f"import duckdb, sys; it = duckdb.connect({str(store)!r}); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.stdin.close()

"""A server for a test, and nobody's proxies around it."""

from collections.abc import Callable, Iterator

import pytest

from exchange.serving import Conduct, Server


@pytest.fixture
def serve() -> Iterator[Callable[[Conduct], Server]]:
    servers: list[Server] = []

    def start(conduct: Conduct) -> Server:
        servers.append(Server(conduct))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _no_proxy_around_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

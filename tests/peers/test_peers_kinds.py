"""Every kind of series under clients that nobody here wrote: what they read is what the tape has, to the digit."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.kind import Stamp
from barfeed.domain.kinds.table import KINDS
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from peers.clients import SDK, BinanceSdk, Ccxt, Peer, PythonBinance, Timed

pytestmark = [
    pytest.mark.peers,
    # As in the tests of klines.
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
]

HOUR = 1_782_518_400_000  # 2026-06-27 00:00
NOW_MS = HOUR + 20 * 60_000
FIRST_MS, LAST_MS = HOUR - 300 * HOUR_MS, HOUR - HOUR_MS
PEERS: dict[str, Callable[[str], Peer]] = {"ccxt": Ccxt, "python-binance": PythonBinance, "binance-sdk": BinanceSdk}
CASES = [
    (peer, kind) for peer in PEERS for kind in KINDS if kind != "klines" and (peer != "binance-sdk" or kind in SDK)
]


@pytest.fixture(scope="module")
def exchange() -> ReplayExchange:
    tape = generate("BTCUSDT", "1h", HOUR - 400 * HOUR_MS, 410, seed=7)
    return ReplayExchange([tape], HandClock(NOW_MS).now_ms)


@pytest.fixture(scope="module")
def url(exchange: ReplayExchange) -> Iterator[str]:
    with ReplayServer(exchange) as server:
        yield server.url


def _told(exchange: ReplayExchange, name: str) -> list[Timed]:
    """What the wire has, by the table of kinds."""
    kind = KINDS[name]
    step_ms = 0 if kind.stamp is Stamp.MOMENT else HOUR_MS
    first, last = (kind.stamp.start_ms(each, step_ms) for each in (FIRST_MS, LAST_MS))
    asked = kind.query("BTCUSDT", next(each for each in kind.intervals if each.ms == HOUR_MS), first, last, 500)
    query = "&".join(f"{key}={value}" for key, value in asked.items())
    rows: list[Any] = json.loads(exchange.handle(Request("GET", kind.path, query, {})).body)
    time = 0 if kind.length == "interval" else "fundingTime" if name == "funding" else "timestamp"
    return [Timed(row[time], tuple(float(row[each.field]) for each in kind.columns)) for row in rows]


@pytest.mark.parametrize(("peer", "kind"), CASES)
def test_a_client_reads_what_the_tape_has(peer: str, kind: str, url: str, exchange: ReplayExchange) -> None:
    client = PEERS[peer](url)
    try:
        rows = client.rows(kind, FIRST_MS, LAST_MS)
    finally:
        client.close()
    told = _told(exchange, kind)
    assert len(told) == (300 if kind != "funding" else len(told)) > 30
    assert [row.at_ms for row in rows] == [row.at_ms for row in told]
    # Some tell fewer values than there are.
    assert [row.values for row in rows] == [
        each.values[: len(row.values)] for row, each in zip(rows, told, strict=True)
    ]

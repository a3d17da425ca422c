"""The replay exchange under clients that nobody here wrote: over a real socket, against what was recorded."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from barfeed.domain.bars import HOUR_MS, Bar
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from peers.clients import BinanceSdk, Ccxt, Peer, PythonBinance, Steps, Told

pytestmark = [
    pytest.mark.peers,
    # python-binance imports websockets' old interface, which this project never touches.
    pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning"),
]

PARQUET = Path(__file__).resolve().parents[3] / "shared" / "data" / "rest" / "BTCUSDT-1h.parquet"

FORMING_MS = 1_707_573_600_000  # 2024-02-10 14:00
NOW_MS = FORMING_MS + 20 * 60_000 + 30_000
BTC = {"symbol": "BTCUSDT", "interval": "1h"}
PEERS: dict[str, Callable[[str], Peer]] = {"ccxt": Ccxt, "python-binance": PythonBinance, "binance-sdk": BinanceSdk}


class Venue(NamedTuple):
    """An exchange on a socket, its clock, and what its tape is known to hold by other means."""

    url: str
    clock: HandClock
    exchange: ReplayExchange
    recorded: list[Bar]
    steps: Steps

    def between(self, first_ms: int, last_ms: int) -> list[Bar]:
        return [bar for bar in self.recorded if first_ms <= bar.open_time_ms <= last_ms]

    def newest(self, count: int) -> list[Bar]:
        """The last bars, the forming one included, as they will be when they are closed."""
        return self.between(FORMING_MS - (count - 1) * HOUR_MS, FORMING_MS)


def recorded() -> tuple[Tape, list[Bar], Steps]:
    """The real hours: the expected ones straight from the file, not by way of the tape."""
    if not PARQUET.exists():
        pytest.skip(f"needs the recorded bars: {PARQUET}")
    rows = duckdb.execute(
        "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?) ORDER BY timestamp",
        [str(PARQUET)],
    ).fetchall()
    (tape,) = Tape.load([str(PARQUET)])
    # Two decimals up to 2022-04-11, and a symbol has one format on the wire.
    return tape, [Bar(*row) for row in rows], Steps(0.01, 0.001)


def generated() -> tuple[Tape, list[Bar], Steps]:
    """Made-up hours, for who has no data: a few thousand before now and some after."""
    tape = generate("BTCUSDT", "1h", FORMING_MS - 4_000 * HOUR_MS, 4_010, seed=7)
    return tape, list(tape.bars), Steps(0.1, 0.001)


@pytest.fixture(scope="module", params=[recorded, generated], ids=["recorded", "generated"])
def source(request: pytest.FixtureRequest) -> tuple[Tape, list[Bar], Steps]:
    return request.param()  # type: ignore[no-any-return]  # pytest's params are Any


@pytest.fixture
def venue(source: tuple[Tape, list[Bar], Steps]) -> Iterator[Venue]:
    tape, bars, steps = source
    clock = HandClock(NOW_MS)
    exchange = ReplayExchange([tape], clock.now_ms)
    with ReplayServer(exchange) as server:
        yield Venue(server.url, clock, exchange, bars, steps)


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest, venue: Venue) -> Iterator[Peer]:
    client = PEERS[request.param](venue.url)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    strangers = []
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if address[0] != "127.0.0.1":
            strangers.append(address)
            raise ConnectionRefusedError(f"{address} is not of this machine")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert strangers == []


def test_the_newest_rows_end_with_the_forming_one(peer: Peer, venue: Venue) -> None:
    *closed, forming = peer.klines(**BTC, limit=6)
    *expected, finished = venue.newest(6)
    assert closed == expected
    assert forming.open_time_ms == FORMING_MS
    assert forming.open == finished.open
    assert finished.low <= forming.low <= forming.close <= forming.high <= finished.high
    assert 0 < forming.volume < finished.volume


def test_the_forming_row_grows_into_the_recorded_bar(peer: Peer, venue: Venue) -> None:
    (early,) = peer.klines(**BTC, limit=1)
    venue.clock.set(FORMING_MS + 50 * 60_000)
    (late,) = peer.klines(**BTC, limit=1)
    assert early.volume < late.volume
    assert early.high <= late.high
    assert late.low <= early.low
    venue.clock.set(FORMING_MS + HOUR_MS)
    closed, _ = peer.klines(**BTC, limit=2)
    assert [closed] == venue.newest(1)


def test_without_a_limit_there_are_500_rows(peer: Peer, venue: Venue) -> None:
    assert peer.klines(**BTC)[:-1] == venue.newest(500)[:-1]


def test_both_ends_of_a_span_are_inclusive(peer: Peer, venue: Venue) -> None:
    first_ms, last_ms = FORMING_MS - 30 * HOUR_MS, FORMING_MS - 10 * HOUR_MS
    whole = venue.between(first_ms, last_ms)
    assert len(whole) == 21
    assert peer.klines(**BTC, startTime=first_ms, endTime=last_ms, limit=100) == whole
    assert peer.klines(**BTC, startTime=first_ms + 1, endTime=last_ms, limit=100) == whole[1:]
    assert peer.klines(**BTC, startTime=first_ms, endTime=last_ms - 1, limit=100) == whole[:-1]


def test_the_last_millisecond_before_the_hour_excludes_the_forming_row(peer: Peer, venue: Venue) -> None:
    assert peer.klines(**BTC, endTime=FORMING_MS - 1, limit=6) == venue.newest(7)[:-1]


def test_with_a_start_the_oldest_rows_win(peer: Peer, venue: Venue) -> None:
    first_ms = FORMING_MS - 300 * HOUR_MS
    oldest = venue.between(first_ms, first_ms + 9 * HOUR_MS)
    assert peer.klines(**BTC, startTime=first_ms, limit=10) == oldest
    assert peer.klines(**BTC, startTime=first_ms, endTime=FORMING_MS, limit=10) == oldest


def test_a_start_before_all_history_gives_the_first_bars(peer: Peer, venue: Venue) -> None:
    assert peer.klines(**BTC, startTime=0, limit=2) == venue.recorded[:2]


def test_a_span_in_the_future_is_empty(peer: Peer) -> None:
    assert peer.klines(**BTC, startTime=NOW_MS + HOUR_MS, endTime=NOW_MS + 9 * HOUR_MS, limit=10) == []


def test_pages_of_1500_join_without_a_seam(peer: Peer, venue: Venue) -> None:
    first_ms, last_ms = FORMING_MS - 3_200 * HOUR_MS, FORMING_MS - HOUR_MS
    paged: list[Bar] = []
    start_ms = first_ms
    while start_ms <= last_ms:
        page = peer.klines(**BTC, startTime=start_ms, endTime=last_ms, limit=1500)
        paged += page
        start_ms = page[-1].open_time_ms + HOUR_MS
    assert len(paged) == 3_200
    assert paged == venue.between(first_ms, last_ms)
    # ccxt hands out the first 1000 of a page, whatever it was asked for.
    assert venue.exchange.requests["/fapi/v1/klines"] == (4 if isinstance(peer, Ccxt) else 3)


def test_the_exchange_s_clock_is_told(peer: Peer, venue: Venue) -> None:
    assert peer.server_time_ms() == NOW_MS
    venue.clock.advance(12_345)
    assert peer.server_time_ms() == NOW_MS + 12_345


def test_the_listing_is_understood(peer: Peer, venue: Venue) -> None:
    assert peer.markets() == {"BTCUSDT": venue.steps}


UNKNOWN_SYMBOL = (-1121, "Invalid symbol.")
BAD_INTERVAL = (-1120, "Invalid interval.")
BAD_LIMIT = (-1130, "Data sent for parameter 'limit' is not valid.")
START_AFTER_END = (-1023, "Start time is greater than end time.")


@pytest.mark.parametrize(
    ("asked", "said", "ccxt_kind"),
    [
        ({"symbol": "NOPEUSDT"}, UNKNOWN_SYMBOL, "BadSymbol"),
        ({"interval": "7h"}, BAD_INTERVAL, "BadRequest"),
        ({"limit": 1501}, BAD_LIMIT, "BadRequest"),
        ({"startTime": FORMING_MS, "endTime": FORMING_MS - 1}, START_AFTER_END, "ExchangeError"),
    ],
    ids=["unknown symbol", "bad interval", "limit 1501", "start after end"],
)
def test_a_refusal_is_raised_as_the_client_raises_binance_s_own(
    peer: Peer, asked: dict[str, Any], said: tuple[int, str], ccxt_kind: str
) -> None:
    kinds = {Ccxt: ccxt_kind, PythonBinance: "HTTP 400", BinanceSdk: "BadRequestError"}
    assert peer.refusal(**BTC | asked) == Told(kinds[type(peer)], *said)


@pytest.fixture
def python_binance(venue: Venue) -> Iterator[PythonBinance]:
    client = PythonBinance(venue.url)
    yield client
    client.close()


@pytest.fixture
def ccxt(venue: Venue) -> Iterator[Ccxt]:
    client = Ccxt(venue.url)
    yield client
    client.close()


@pytest.fixture
def sdk(venue: Venue) -> Iterator[BinanceSdk]:
    client = BinanceSdk(venue.url)
    yield client
    client.close()


def test_python_binance_pages_through_history_by_itself(python_binance: PythonBinance, venue: Venue) -> None:
    first_ms, last_ms = FORMING_MS - 2_400 * HOUR_MS, FORMING_MS - HOUR_MS
    rows = python_binance.client.futures_historical_klines("BTCUSDT", "1h", first_ms, last_ms)
    assert [Bar(row[0], *map(float, row[1:6])) for row in rows] == venue.between(first_ms, last_ms)


def test_ccxt_pages_through_history_by_itself(ccxt: Ccxt, venue: Venue) -> None:
    first_ms, last_ms = FORMING_MS - 2_400 * HOUR_MS, FORMING_MS - HOUR_MS
    pages = {"paginate": True, "until": last_ms}
    rows = ccxt.exchange.fetch_ohlcv("BTC/USDT:USDT", "1h", first_ms, params=pages)
    assert [Bar(*row) for row in rows] == venue.between(first_ms, last_ms)


def test_ccxt_knows_the_market_for_a_linear_perpetual(ccxt: Ccxt) -> None:
    market = ccxt.exchange.load_markets()["BTC/USDT:USDT"]
    facts = {name: market[name] for name in ("base", "quote", "settle", "type", "linear", "active", "contractSize")}
    assert facts == {
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "type": "swap",
        "linear": True,
        "active": True,
        "contractSize": 1.0,
    }


def test_a_row_has_twelve_fields_of_the_documented_types(python_binance: PythonBinance, venue: Venue) -> None:
    rows = python_binance.client.futures_klines(**BTC, endTime=FORMING_MS - 1, limit=200)
    documented = [int, str, str, str, str, str, int, str, int, str, str, str]
    for row, bar in zip(rows, venue.newest(201)[:-1], strict=True):
        assert [type(field) for field in row] == documented
        assert row[6] == bar.open_time_ms + HOUR_MS - 1
        assert bar.low * bar.volume <= float(row[7]) * (1 + 1e-12)
        assert float(row[7]) * (1 - 1e-12) <= bar.high * bar.volume
        assert float(row[9]) <= bar.volume
        assert float(row[10]) <= float(row[7])
        assert row[11] == "0"


@pytest.mark.parametrize(("limit", "weight"), [(1, 1), (100, 1), (101, 2), (500, 2), (501, 5), (1001, 10), (None, 5)])
def test_binance_s_sdk_reads_the_weight_from_the_header(sdk: BinanceSdk, limit: int | None, weight: int) -> None:
    answer = sdk.client.kline_candlestick_data("BTCUSDT", "1h", limit=limit)
    used = [(each.rateLimitType, each.interval, each.intervalNum, each.count) for each in answer.rate_limits]
    assert used == [("REQUEST_WEIGHT", "MINUTE", 1, weight)]


def test_who_overruns_the_limit_is_warned_and_then_banned(peer: Peer, venue: Venue) -> None:
    # One for the listing and ten for each of these, which ask for much before all history and so get nothing.
    peer.markets()
    for _ in range(239):
        assert peer.klines(**BTC, endTime=1, limit=1500) == []
    kinds = {
        Ccxt: ("DDoSProtection", "DDoSProtection"),
        PythonBinance: ("HTTP 429", "HTTP 418"),
        BinanceSdk: ("TooManyRequestsError", "RateLimitBanError"),
    }
    warned, banned = peer.refusal(**BTC, limit=1500), peer.refusal(**BTC)
    assert ((warned.kind, warned.code), (banned.kind, banned.code)) == tuple(
        (kind, -1003) for kind in kinds[type(peer)]
    )
    assert f"banned until {NOW_MS + 120_000}" in banned.message
    venue.clock.advance(120_000)
    assert len(peer.klines(**BTC, limit=2)) == 2

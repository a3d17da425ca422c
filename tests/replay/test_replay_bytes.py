"""What the exchange and the archive say of klines, to the byte: whoever recorded them once reads the same for ever."""

import hashlib
import io
import zipfile
from collections.abc import Iterator

import pytest

from barfeed.replay.archive.service import ReplayArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.made_up import market
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import HOUR, KLINES, at

START = at(0)
NOW = at(0) + 60 * 24 * HOUR + 17 * 60_000 + 3_000


def _made_up() -> list[Tape]:
    return [tape for tape in market("1h", START, 3) if tape.series.symbol in {"BTCUSDT", "XAUUSDT", "币安人生USDT"}]


TAPES = {
    "generated": lambda: [generate("BTCUSDT", "1h", START, 2000, 5), generate("BTCUSDT", "4h", START, 500, 5)],
    "market": _made_up,
}
# Written down before there were other kinds than klines.
SAID = {
    ("generated", "rest"): "7955a23bb6b07f11989d9ab63fe13f27f76da6860722ebc533d4fe50e51fdca4",
    ("generated", "stream"): "b20cca40c25af4052ebd7d73d6aac206706837ab1928d335f4ffe74e24fb3a2d",
    ("generated", "archive"): "e3093a5245622dde7b17b24681a7b2f6bda5031cada74c2a86098c7f13331fc0",
    ("market", "rest"): "2ef1a37afdfd80ba7c06f05844b2590d691cb4612868db771d2aafbbc86c009d",
    ("market", "stream"): "7ef800fa279bad9191dfc082af4ab0593b86422b9038e0449902e81216810cab",
    ("market", "archive"): "6ea227931c03f07c6b0a0e1e7b80385ba58943565a7d85415349c16fb92348d7",
}


def _rest(tapes: list[Tape]) -> Iterator[bytes]:
    exchange = ReplayExchange(tapes, HandClock(NOW).now_ms)
    for tape in tapes:
        asked = f"symbol={tape.series.symbol}&interval={tape.series.interval}"
        for more in ("limit=1500", f"startTime={START}&limit=700", f"endTime={START + 99 * HOUR}&limit=100"):
            answer = exchange.handle(Request("GET", KLINES, f"{asked}&{more}", {}))
            yield repr(answer.headers).encode() + answer.body
    yield exchange.handle(Request("GET", "/fapi/v1/exchangeInfo", "", {})).body


def _stream(tapes: list[Tape]) -> Iterator[bytes]:
    exchange = ReplayExchange(tapes, HandClock(NOW).now_ms)
    for tape in tapes:
        for now_ms in (NOW, NOW + 30 * 60_000):
            open_time = now_ms - now_ms % tape.series.interval.ms
            yield str(exchange.row(tape.series, open_time, now_ms)).encode()


def _archive(tapes: list[Tape]) -> Iterator[bytes]:
    archive = ReplayArchive(tapes, HandClock(NOW).now_ms)
    for tape in tapes:
        symbol, interval = tape.series
        for name in ("monthly/klines/{}/{}/{}-{}-2024-02", "daily/klines/{}/{}/{}-{}-2024-03-01"):
            path = f"/data/futures/um/{name.format(symbol, interval, symbol, interval)}.zip"
            answer = archive.handle(Request("GET", path, "", {}))
            # How it is packed is another library's.
            with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
                yield from (name.encode() + packed.read(name) for name in packed.namelist())


WHO = {"rest": _rest, "stream": _stream, "archive": _archive}


@pytest.mark.parametrize(("tapes", "who"), SAID)
def test_klines_are_told_as_ever(tapes: str, who: str) -> None:
    said = hashlib.sha256(b"\n".join(WHO[who](TAPES[tapes]()))).hexdigest()
    assert said == SAID[tapes, who]

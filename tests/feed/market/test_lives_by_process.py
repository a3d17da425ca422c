"""A delisting, a relisting, another tick, a name in Chinese, a quarterly's end: as a user lives them, by commands."""

import json
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.klines import Columns, Contract, Decimals
from barfeed.replay.tapes.tape import Tape
from market_world import MarketMachine, market_machine, stored, windows
from process import BARFEED, Ran
from storage import opened
from world import hours, made_up_bars, ms, written

pytestmark = pytest.mark.long

# On the morning of a quarterly's last day: it is delivered at 08:00.
TARGET_MS = ms(2026, 3, 27, 4)
QUARTERLY = "BTCUSDT_260327"
CHINESE = "币安人生USDT"


def taped(symbol: str) -> tuple[Bar, ...]:
    """More bars than a window, up to a day after the first target; each symbol's are others."""
    return made_up_bars(TARGET_MS + hours(24), 800, symbol)


def tape(symbol: str, bars: Sequence[Bar] | None = None) -> Tape:
    return Tape.of(Series.of(symbol, "1h"), taped(symbol) if bars is None else bars)


def at(hour: float) -> int:
    """The moment so many hours after the first target opened."""
    return TARGET_MS + hours(hour)


# Half a minute after the first target closed.
started = partial(market_machine, now_ms=at(1) + 30_000)


def lived(market: MarketMachine, hour: int, *flags: str, symbols: str = "all") -> Ran:
    """The pass half a minute after the bar that opens so many hours after the first target has closed."""
    market.clock.set(at(hour + 1) + 30_000)
    return market.call(market.command(*flags, symbols=symbols))


def told(ran: Ran) -> list[str]:
    """What the log says of symbols."""
    return [line.removeprefix("WARNING ") for line in ran.err.splitlines() if line.startswith("WARNING ")]


def bars_of(market: MarketMachine, symbol: str) -> list[Bar]:
    return stored(market.duckdb)[symbol]


def expected(symbol: str, last_ms: int, first_ms: int = 0) -> list[Bar]:
    """What the exchange has of a symbol in a window's reach, up to a bar."""
    first_ms = max(first_ms, TARGET_MS - hours(725))
    return [bar for bar in taped(symbol) if first_ms <= bar.open_time_ms <= last_ms]


def as_listed(market: MarketMachine, symbol: str) -> list[tuple[Any, ...]]:
    """Each row of the table `symbols`: the status, the tick, and in which hour it was seen."""
    query = "SELECT status, tick, hour(seen_at) FROM symbols WHERE symbol = ? ORDER BY seen_at"
    with opened(market.duckdb, read_only=True) as connection:
        return connection.execute(query, [symbol]).fetchall()


def fault(kind: str, symbol: str, **keys: int) -> str:
    times = "\n".join(f"{key.rstrip('_')} = {written(at_ms)}" for key, at_ms in keys.items())
    return f'[[fault]]\nkind = "{kind}"\nsymbol = "{symbol}"\n{times}\n'


def test_a_delisting_is_told_as_it_comes_and_is_nobodys_trouble(tmp_path: Path) -> None:
    # Announced at 05:45, settled at 07:00, out of the list at 08:30.
    life = fault("settle", "FTMUSDT", at=at(3), from_=at(1.75)) + fault("delist", "FTMUSDT", at=at(4.5), from_=at(4.5))
    with started(tmp_path, [tape("BTCUSDT"), tape("FTMUSDT")]) as market:
        market.exchange.faults = parse_faults(life, "the test")
        assert lived(market, 0, "--catch-up").code == 0
        says = {1: ["FTMUSDT: is settled at 2026-03-27 07:00"], 2: ["FTMUSDT: TRADING became SETTLING"]}
        says[4] = ["FTMUSDT: SETTLING became UNLISTED"]
        for hour in range(1, 6):
            done = lived(market, hour, "--then", 'test "$BARFEED_FRESH" = BTCUSDT || exit 9')
            assert (done.code, told(done)[: len(says.get(hour, []))]) == (0, says.get(hour, [])), done
            # Its last bar is fed, though by then it is settled; no window of it goes to a model any more.
            assert f"series={2 if hour in {1, 2, 4} else 1} " in done.out, done
        assert bars_of(market, "FTMUSDT") == expected("FTMUSDT", at(2))
        assert sorted(windows(market.artifacts)) == ["BTCUSDT"]
        assert [status for status, _, _ in as_listed(market, "FTMUSDT")][-2:] == ["SETTLING", "UNLISTED"]
        named = lived(market, 6, symbols="BTCUSDT,FTMUSDT")
        assert (named.code, "appended=1" in named.out) == (5, True), named
        assert "FTMUSDT 1h: not in the exchange's list of symbols" in named.err


def test_what_comes_back_under_its_name_goes_on_in_the_same_table(tmp_path: Path) -> None:
    # Gone from 06:00 to 09:00; what it is listed as from then on has another tick.
    without = [bar for bar in taped("LUNAUSDT") if not at(2) <= bar.open_time_ms < at(5)]
    gone = fault("delist", "LUNAUSDT", at=at(2), until=at(5))
    with started(tmp_path, [tape("BTCUSDT"), tape("LUNAUSDT", without)]) as market:
        market.exchange.faults = parse_faults(gone, "the test")
        assert lived(market, 0, "--catch-up").code == 0
        says = {1: ["LUNAUSDT: TRADING became UNLISTED"], 4: ["LUNAUSDT: UNLISTED became TRADING"]}
        for hour in range(1, 7):
            # Of what is listed and not yet traded there is nothing to wait for.
            done = lived(market, hour, "--max-wait-sec", "5")
            assert (done.code, told(done)) == (0, says.get(hour, [])), done
        assert bars_of(market, "LUNAUSDT") == [bar for bar in without if at(-725) <= bar.open_time_ms <= at(6)]
        # A window with hours without trade in it is none, and how long that lasts is in the manifest.
        assert sorted(windows(market.artifacts)) == ["BTCUSDT"]
        manifest = json.loads(max(market.artifacts.glob("*_run.json")).read_text())
        [luna] = [each for each in manifest["outcomes"] if each["symbol"] == "LUNAUSDT"]
        assert "has 2 of 726 bars, from 2026-03-27 09:00 on" in luna["message"]


def test_another_tick_is_told_once_and_kept_with_its_moment(tmp_path: Path) -> None:
    series = Series.of("BTCUSDT", "1h")
    finer = Contract(Decimals(4, 3, 7), ((0, 2), (at(2), 4)), "PERPETUAL")
    with started(tmp_path, [Tape(series, Columns.of(taped("BTCUSDT")), finer), tape("ETHUSDT")]) as market:
        assert lived(market, 0, "--catch-up").code == 0
        says = {1: ["BTCUSDT: tick 0.01 became 0.0001"]}
        for hour in range(1, 4):
            done = lived(market, hour)
            assert (done.code, told(done)) == (0, says.get(hour, [])), done
        assert as_listed(market, "BTCUSDT") == [("TRADING", 0.01, 5), ("TRADING", 0.0001, 6)]
        assert bars_of(market, "BTCUSDT") == expected("BTCUSDT", at(3))


def test_a_symbol_in_chinese_is_fed_told_and_mended_like_any_other(tmp_path: Path) -> None:
    revised = f"{fault('revise', CHINESE, bar=at(0))}volume = 3.0\n"
    see = f"{shlex.quote(sys.executable)} -c \"import os; print(ascii(os.environ['BARFEED_FRESH']))\""
    with started(tmp_path, [tape("BTCUSDT"), tape(CHINESE)]) as market:
        first = lived(market, 0, "--catch-up", "--csv-for", CHINESE, "--then", see)
        assert first.code == 0, first
        assert f"--then: {f'BTCUSDT,{CHINESE}'!a}" in first.err
        csv = market.artifacts / f"latest_for_inference_{CHINESE}.csv"
        assert len(csv.read_text().splitlines()) == 727
        market.exchange.faults = parse_faults(revised, "the test")
        bad = lived(market, 1)
        assert (bad.code, "appended=1" in bad.out, "mismatch=1" in bad.out) == (1, True, True), bad
        assert f"--symbol '{CHINESE}'" in bad.err
        for words in (("repair", "--yes", "--pause-sec", "0"), ("verify",), ("status",), ("revisions",)):
            flags = ("--symbol", CHINESE, "--duckdb", str(market.duckdb))
            folder = ("--persist-dir", str(tmp_path / "feed")) if words[0] in {"verify", "status"} else ()
            done = market.call([str(BARFEED), *words, *flags, *folder])
            assert done.code == 0, (words, done)
        again = lived(market, 1)
        assert (again.code, "appended=1" in again.out) == (0, True), again
        assert bars_of(market, CHINESE)[-2:] == [taped(CHINESE)[-25]._replace(volume=3.0), taped(CHINESE)[-24]]


def test_a_quarterly_is_fed_by_name_to_its_last_bar_and_no_further(tmp_path: Path) -> None:
    with started(tmp_path, [tape("BTCUSDT"), tape(QUARTERLY)]) as market:
        named = f"all,{QUARTERLY}"
        assert "series=2 appended=2" in lived(market, 0, "--catch-up", symbols=named).out
        # Who names it once, and then no more, does not feed it.
        assert "series=1 appended=1" in lived(market, 1).out
        says = {3: [f"{QUARTERLY}: TRADING became SETTLING"]}
        for hour in range(2, 6):
            done = lived(market, hour, *["--catch-up"] * (hour == 2), symbols=named)
            assert (done.code, told(done)) == (0, says.get(hour, [])), done
            assert f"series={2 if hour < 4 else 1} " in done.out, done
        # The exchange goes on showing bars; the last one opened an hour before the delivery.
        assert bars_of(market, QUARTERLY) == expected(QUARTERLY, at(3))
        assert sorted(windows(market.artifacts)) == ["BTCUSDT"]


def test_a_quarterly_that_nobody_named_is_nobodys_news(tmp_path: Path) -> None:
    with started(tmp_path, [tape("BTCUSDT"), tape(QUARTERLY)]) as market:
        for hour in range(0, 5, 2):
            done = lived(market, hour, "--catch-up")
            assert (done.code, told(done)) == (0, []), done
        # What was listed is kept of every symbol, whoever is fed.
        assert [status for status, _, _ in as_listed(market, QUARTERLY)] == ["TRADING", "SETTLING"]

"""Six years of hours, from the address to the pixels: `barfeed web` against streamlit and plotly; and what it weighs.

Beside it, the page alone: its first paint by a server just started, its frames while a hand pans over all years, and
how long a bar that was stored takes to a page that is open.

Both are servers of their own over one store, and one real browser goes to each in turn, with nothing kept from before.
streamlit and plotly draw all 46,591 candles, as their users do; the page draws what a screen can show of them. On a
slow machine that takes minutes: once the bound is decided they are given up, count as long as was waited, and are told.
"""

import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS
from benchmarks.ground import ROOT
from benchmarks.report import Bound, Figure, Ratio, Section, Timing, Verdict

RIVAL = "benchmarks/streamlit_page.py"
BARS = 46_591
FIRST_MS = 1_567_962_000_000
SERIES = 540
WINDOW = 726
MEGABYTES_MAX = 150
FIRST_PAINT_MAX_MS = 1000
LIVE_MAX_MS = 1000
PAN_STEPS = 60
# So long is waited for whatever it is, and for the rival so many times as long as ours took, if that is more.
_CEILING_SEC = 150
_DECIDED = 11
# Once the rounds took so long, no further one is begun.
_ROUNDS_SEC = 240
_PAUSE_SEC = 0.05
_CHART = "#/chart?symbol=BTCUSDT"
# Waves of a year, a week and a day: each candle opens where the one before it closed.
_YEARS = f"""
CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE,
  close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP);
CREATE TEMP MACRO price(hour) AS 30000 + 9000 * sin(hour / 1400) + 600 * sin(hour / 27) + 80 * sin(hour * 1.7);
INSERT INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume)
SELECT make_timestamp_ms({FIRST_MS} + hour * {HOUR_MS}), price(hour), greatest(price(hour), price(hour + 1)) + 40,
  least(price(hour), price(hour + 1)) - 40, price(hour + 1), 1000 + hour % 97
FROM range({BARS}) hours(hour);
"""
# A bar of the hour after the last, as a pass stores it.
_ONE_MORE = """
INSERT INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume)
SELECT max(timestamp) + INTERVAL 1 HOUR, 2, 3, 1, 2, 5 FROM ohlcv_btcusdt_1h
"""


def measure(work: Path, rounds: int) -> Section:
    """The page alone, then each server in turn; then the memory of a page on a market."""
    sys.path[:0] = [str(ROOT / "tests")]
    from operate.web.browser import browser  # noqa: PLC0415 - the tests' own, found by the line above

    store = work / "years.duckdb"
    _say("filling a store of six years")
    _fill(store, _YEARS)
    with browser() as made:
        _say("first paints, each by a server just started")
        first = [_first_paint(made, store) for _ in range(rounds)]
        with barfeed_web(store) as (url, _):
            _say("frames while a hand pans")
            panned, still = zip(*(_frames(made, f"{url}{_CHART}") for _ in range(rounds)), strict=True)
            with streamlit(store) as rival:
                raced = _races(made, f"{url}{_CHART}", rival, rounds)
            _say("bars to a page that is open")
            lived = _lived(made, f"{url}{_CHART}", store, rounds)
    megabytes = _megabytes(work / "market.duckdb")
    mine, others = zip(*raced, strict=True)
    ours, theirs = Timing("barfeed web", mine), Timing(RIVAL, others)
    pan, rest = Timing("a frame while panning", panned), Timing("a frame of an empty page", still)
    live = Timing("a stored bar on an open page", lived)
    painted = Timing("first paint, a server just started", first)
    verdicts: list[Verdict] = [
        Ratio(theirs, ours, Bound("at least", 10)),
        Ratio(pan, rest, Bound("at most", 1.1)),
        Figure("the slowest first paint", 1000 * max(first), FIRST_PAINT_MAX_MS, "ms"),
        Figure("the slowest way of a stored bar to an open page", 1000 * max(lived), LIVE_MAX_MS, "ms"),
        Figure(f"memory of the server, {SERIES} series of {WINDOW} bars, every view", megabytes, MEGABYTES_MAX, "MB"),
    ]
    title = f"Six years of hours to pixels, {len(raced)} rounds"
    return Section(title, [ours, theirs, painted, live, pan, rest], verdicts, _said_of_rival(raced))


def _say(what: str) -> None:
    sys.stderr.write(f"  page: {what}\n")


def _races(made: Any, ours: str, theirs: str, rounds: int) -> list[tuple[float, float]]:
    """Seconds of the one and of the other, round by round."""
    begin, raced = time.perf_counter(), list[tuple[float, float]]()
    while len(raced) < rounds and (not raced or time.perf_counter() - begin < _ROUNDS_SEC):
        mine = _seconds(made, ours, _draw_all, _CEILING_SEC)
        raced.append((mine, _seconds(made, theirs, _drawn, _patience_sec(mine))))
        _say(f"round {len(raced)}: {mine:.1f} s, {RIVAL} {raced[-1][1]:.1f} s")
    return raced


def _patience_sec(mine: float) -> float:
    return max(_CEILING_SEC, _DECIDED * mine)


def _said_of_rival(raced: Sequence[tuple[float, float]]) -> str:
    given_up = sum(theirs >= _patience_sec(mine) for mine, theirs in raced)
    return f"{RIVAL} had not drawn when it was given up, in {given_up} of {len(raced)} rounds." if given_up else ""


def _first_paint(made: Any, store: Path) -> float:
    """By the browser's own clock, of a server that has not read the store yet."""
    with barfeed_web(store) as (url, _):
        page = _page(made)
        page.goto(f"{url}{_CHART}")
        page.wait_for_selector(".chart[data-step]")
        painted_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        page.close()
    return float(painted_ms) / 1000


def _lived(made: Any, url: str, store: Path, rounds: int) -> list[float]:
    """Seconds from a bar in the store to the same bar on a page that nobody touches."""
    page = _page(made)
    page.goto(url)
    page.wait_for_selector(".chart[data-step]")
    seconds = []
    for bar in range(BARS, BARS + rounds):
        opens = grid.text(FIRST_MS + bar * HOUR_MS)
        _store_one(store)
        begin = time.perf_counter()
        page.locator(f".legend time:has-text('{opens}')").wait_for()
        seconds.append(time.perf_counter() - begin)
    page.close()
    return seconds


def _store_one(store: Path) -> None:
    while True:
        # The page may be reading what was stored before.
        with suppress(duckdb.IOException):
            return _fill(store, _ONE_MORE)
        time.sleep(_PAUSE_SEC)


def _frames(made: Any, url: str) -> tuple[float, float]:
    """Seconds a frame: of the chart while a hand drags it over all years, and of a page that draws nothing."""
    page = _page(made)
    page.goto("about:blank")
    still = _frame_of(page, lambda: page.wait_for_timeout(1000))
    page.goto(url)
    _draw_all(page)
    panned = _frame_of(page, lambda: _drag(page))
    page.close()
    return panned, still


def _frame_of(page: Any, act: Callable[[], None]) -> float:
    page.evaluate(
        "window.drawn = []; window.frame = (at) => { drawn.push(at); requestAnimationFrame(frame) };"
        " requestAnimationFrame(frame)"
    )
    act()
    return float(page.evaluate("(drawn.at(-1) - drawn[0]) / (drawn.length - 1)")) / 1000


def _drag(page: Any) -> None:
    page.mouse.move(640, 300)
    page.mouse.down()
    for step in range(PAN_STEPS):
        page.mouse.move(640 + 300 * math.sin(step / 20), 300)
    page.mouse.up()


def _page(made: Any, ceiling_sec: float = _CEILING_SEC) -> Any:
    page = made.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(1000 * ceiling_sec)
    return page


def _seconds(made: Any, url: str, drawn: Callable[[Any], None], ceiling_sec: float) -> float:
    """Until it is drawn, as long as is waited at most."""
    from playwright.sync_api import TimeoutError as NotDrawn  # noqa: PLC0415 - as the browser

    page = _page(made, ceiling_sec)
    begin = time.perf_counter()
    with suppress(NotDrawn):
        page.goto(url, wait_until="commit")
        drawn(page)
    seconds = time.perf_counter() - begin
    page.close()
    return seconds


def _draw_all(page: Any) -> None:
    page.wait_for_selector(".chart[data-step]")
    page.click("text=All")
    page.wait_for_selector(".chart[data-step='604800000']")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


def _drawn(page: Any) -> None:
    page.wait_for_selector(".js-plotly-plot .boxlayer path", state="attached")
    page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")


@contextmanager
def barfeed_web(store: Path) -> Iterator[tuple[str, int]]:
    """Its address, and its process."""
    flags = ["--listen", "127.0.0.1:0", "--duckdb", str(store), "--persist-dir", str(store.parent / "feed")]
    command = [sys.executable, "-m", "barfeed", "web", *flags]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        with _ended(server):
            yield server.stdout.readline().strip(), server.pid


@contextmanager
def streamlit(store: Path) -> Iterator[str]:
    """Its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = ["--server.headless", "true", "--server.address", "127.0.0.1", "--server.port", str(port)]
    flags += ["--browser.gatherUsageStats", "false"]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "benchmarks" / "streamlit_page.py"), *flags]
    none = subprocess.DEVNULL
    with subprocess.Popen([*command, "--", str(store)], stdout=none, stderr=none) as server, _ended(server):
        while not _answers(port):
            time.sleep(_PAUSE_SEC)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _ended(server: "subprocess.Popen[Any]") -> Iterator[None]:
    """Whatever comes of it: what is left running would be waited for without end."""
    try:
        yield
    finally:
        server.terminate()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _megabytes(store: Path) -> float:
    """The most that the server ever had, once each view was asked for."""
    import urllib.request  # noqa: PLC0415 - only here

    _say(f"a market of {SERIES} series")
    _fill_market(store)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with barfeed_web(store) as (url, pid):
        views = ["market", "runs", "now"]
        views += [
            f"{view}?symbol=S{number:03d}USDT" for number in range(0, SERIES, 20) for view in ("candles", "marks")
        ]
        for view in views:
            direct.open(f"{url}api/{view}", timeout=300).read()
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000


def _fill_market(store: Path) -> None:
    _fill(
        store,
        "CREATE TABLE ohlcv_1h (symbol VARCHAR, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE,"
        " close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,"
        " PRIMARY KEY (symbol, timestamp));"
        " INSERT INTO ohlcv_1h (symbol, timestamp, open, high, low, close, volume)"
        f" SELECT format('S{{:03d}}USDT', series), make_timestamp_ms({FIRST_MS} + hour * {HOUR_MS}), 2, 3, 1, 2, hour"
        f" FROM range({WINDOW}) hours(hour), range({SERIES}) all_series(series)",
    )


def _fill(store: Path, statements: str) -> None:
    with duckdb.connect(str(store)) as connection:
        connection.execute(statements)

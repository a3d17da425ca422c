"""The page on a database: what a file shows, by a reader's rights; who feeds it; and that it comes back by itself."""

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from barfeed.cli.commands.history.copy import copy
from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.operate.web.manifests import Manifests
from barfeed.operate.web.stores.database import HeldDatabase
from barfeed.operate.web.stores.file import HeldFile
from barfeed.operate.web.stores.looks import Held, Looks
from barfeed.operate.web.views.sources import Sources
from barfeed.store.duckdb import Store
from barfeed.store.kinds.kept import FileKinds
from barfeed.store.port.kinds import KeptKinds
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables.feeders import Feeder
from commands import call, execute
from market_store import CREATE_REVISIONS, LAST_MS, list_symbols, make_market
from operate.web.browser import Tab, browser
from operate.web.serving import Page
from page_world import PageWorld
from pg_server import looked_at, new_market, shared_server
from waiting import until
from world import SteppingClock, hours

pytestmark = pytest.mark.long

ONE_HOUR = Interval.ONE_HOUR
DEPLOY = Path(__file__).resolve().parents[3] / "deploy" / "postgres"
NOW_MS = LAST_MS + hours(1) + 30_000
# Whatever the page marks: bars that are missing, and one that was changed.
ODD = f"""
DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDC' AND timestamp BETWEEN '2026-03-02 03:00' AND '2026-03-02 05:00';
{CREATE_REVISIONS}INSERT INTO ohlcv_revisions
SELECT 'BTCUSDT 1h', timestamp, open - 1, high, low, close, volume, open, high, low, close, volume,
       '2026-03-09', '2026-03-09 12:00:00', 'because', 'a run'
FROM ohlcv_1h WHERE symbol = 'BTCUSDT' AND timestamp = '2026-03-08 05:00'
"""


class Elsewhere(PageWorld):
    """A host that shows a store, and has no run of its own."""

    def __init__(self, folder: Path, held: Held) -> None:
        self.folder = folder
        self.held = held

    def sources(self, lock_timeout_sec: float = 0.0) -> Sources:  # noqa: ARG002 - the store's own
        """What a page is made of."""
        return Sources(Looks(self.held), Manifests(self.root), SteppingClock(NOW_MS), None, None)


def feeder(host: str, lag_hours: int = 0, status: str = "appended") -> Feeder:
    """A feed of hours that was last heard of so long ago."""
    back_ms = hours(lag_hours)
    return Feeder(host, "/srv/feed/BINANCE.P_1h", "1.0", NOW_MS - back_ms, status, LAST_MS - back_ms, 30.0)


def note(address: str, *feeders: Feeder) -> None:
    with closing(Server(address, SystemClock(), 0.0)) as server:
        for each in feeders:
            server.note_feeder(each)


def feed_kinds(kept: KeptKinds) -> None:
    """Two kinds that have a pane, of one symbol: one a bar; of funding every eighth."""
    for name, every in (("funding", 8), ("open_interest", 1)):
        kind, opens_ms = KINDS[name], range(LAST_MS - hours(200), LAST_MS, hours(every))
        rows = [Row(at_ms, kind.known_at_ms(at_ms, ONE_HOUR), (at_ms / 7, 0.5)) for at_ms in opens_ms]
        with kept.writing(kind, ONE_HOUR) as table:
            table.append({"BTCUSDT": rows})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_market(tmp_path_factory.mktemp("file") / "market.duckdb")
    list_symbols(path, "2026-03-01", ("BTCUSDT", "TRADING"), ("ADAUSDT", "SETTLING"))
    execute(path, ODD)
    feed_kinds(FileKinds(Store(path, SystemClock(), 5.0)))
    return path


@pytest.fixture(scope="module")
def address(file: Path) -> str:
    """A database with the same rows, by its owner's rights."""
    made = new_market()
    assert call(copy, file, made).code == 0
    with closing(Server(made, SystemClock(), 0.0)) as server:
        feed_kinds(server.kinds)
    with looked_at(made) as connection:
        connection.execute((DEPLOY / "reader.sql").read_text())
        connection.execute("DROP ROLE IF EXISTS page_reader")
        connection.execute("CREATE ROLE page_reader LOGIN IN ROLE barfeed_reader")
    note(made, feeder("db-a"), feeder("db-b", 5), feeder("db-c", 0, "bar_late"))
    return made


@contextmanager
def served(folder: Path, held: Held) -> Iterator[Page]:
    with Page(Elsewhere(folder, held)).served() as page:
        yield page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, address: str) -> Iterator[Page]:
    by_reader = address.replace("postgres@", "page_reader@")
    with served(tmp_path_factory.mktemp("page"), HeldDatabase(by_reader, SystemClock())) as page:
        yield page


def test_it_shows_what_a_file_with_the_same_rows_shows(page: Page, file: Path, address: str, tmp_path: Path) -> None:
    with served(tmp_path, HeldFile(file, 5.0)) as of_file:
        for view in ("candles", "marks", "calendar", "beside"):
            for symbol in ("BTCUSDT", "BTCUSDC"):
                assert page.ask(view, symbol=symbol) == of_file.ask(view, symbol=symbol), view
        assert page.ask("candles", symbol="BTCUSDT", points=100) == of_file.ask("candles", symbol="BTCUSDT", points=100)
        ours, theirs = page.ask("market"), of_file.ask("market")
    assert [pane["name"] for pane in page.ask("beside", symbol="BTCUSDT")["panes"]] == ["funding_rate", "open_interest"]
    assert page.ask("beside", symbol="BTCUSDC")["panes"] == []
    assert ours["rows"] == theirs["rows"]
    assert ours["store"].endswith(address.partition("@")[2])
    assert ours["store_bytes"] > 100_000
    assert (theirs["trouble"], ours["trouble"]) == ("", "")


def test_who_feeds_is_told_worst_first(page: Page) -> None:
    now = page.ask("now")
    told = [(each["host"], each["trouble"]) for each in now["feeders"]]
    assert told == [
        ("db-b", "5 bars behind: its newest is 2026-03-10 08:00"),
        ("db-c", "its last pass failed: bar_late"),
        ("db-a", ""),
    ]
    assert [each["lag_ms"] for each in now["feeders"]] == [hours(5) + 30_000, 30_000, 30_000]
    assert (now["trouble"], now["run"]) == ("", None)


def test_what_has_not_changed_is_not_read_again_and_what_was_written_is_seen(page: Page, address: str) -> None:
    page.ask("calendar", symbol="ETHUSDT")
    until(lambda: _reads(page) == 0)
    with looked_at(address) as connection:
        connection.execute("DELETE FROM barfeed.ohlcv_1h WHERE symbol = 'ETHUSDT' AND timestamp = '2026-03-05 07:00'")
    until(lambda: page.ask("marks", symbol="ETHUSDT")["gaps"])


def _reads(page: Page) -> int:
    before = page.sources.looks.reads
    page.ask("calendar", symbol="ETHUSDT")
    return page.sources.looks.reads - before


def test_however_many_pages_are_open_it_has_one_connection_and_none_once_they_are_left(
    page: Page, address: str
) -> None:
    name = address.partition("?")[0].rpartition("/")[2]
    connected = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'page_reader' AND datname = %s"
    with shared_server().connected() as watcher:

        def connections() -> int:
            return int(watcher.execute(connected, [name]).fetchall()[0][0])

        lines = [urllib.request.urlopen(f"{page.url}/api/events", timeout=60) for _ in range(5)]
        try:
            for each in lines:
                each.readline()
            until(lambda: connections() == 1)
            note(address, feeder("db-a"))
            assert [_event(each) for each in lines] == ["stored"] * 5
            assert connections() <= 1
        finally:
            for each in lines:
                each.close()
        until(lambda: connections() == 0)


def _event(line: Any) -> str:
    """The next that is no comment, nor the first."""
    while True:
        said = line.readline().decode().strip()
        if said.startswith("event: ") and said != "event: hello":
            return str(said.removeprefix("event: "))


@contextmanager
def reached_later(folder: Path, name: str) -> Iterator[tuple[HeldDatabase, Callable[[], None]]]:
    """A database to which no way leads yet, and what makes one."""
    server, way = shared_server(), folder / "way"
    way.mkdir()
    socket = f".s.PGSQL.{server.port}"
    address = f"postgresql://page_reader@/{name}?host={way}&port={server.port}"
    yield HeldDatabase(address, SystemClock()), lambda: (way / socket).symlink_to(server.folder / socket)


def test_one_that_is_away_is_told_with_what_helps_and_is_back_by_itself(tmp_path: Path, address: str) -> None:
    name = address.partition("?")[0].rpartition("/")[2]
    with reached_later(tmp_path, name) as (held, reach), served(tmp_path, held) as page:
        told = page.get("/api/candles", {"symbol": "BTCUSDT"})
        assert (told.status, "nobody listens there" in told.json()["error"]) == (503, True)
        assert "see that it runs" in told.json()["hint"]
        now, market = page.ask("now"), page.ask("market")
        assert (now["feeders"], "nobody listens" in now["trouble"]) == (None, True)
        assert (market["rows"], "nobody listens" in market["trouble"]) == ([], True)
        with urllib.request.urlopen(f"{page.url}/api/events", timeout=60) as line:
            line.readline()
            reach()
            assert _event(line) == "stored"
        assert page.ask("candles", symbol="BTCUSDT")["symbol"] == "BTCUSDT"
        assert len(page.ask("now")["feeders"]) == 3


@pytest.mark.parametrize("how", [{"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}])
def test_forty_who_feed_are_seen_and_the_worst_of_them_first(tmp_path: Path, how: dict[str, Any]) -> None:
    forty = new_market()
    note(forty, *(feeder(f"host-{number:02}", number if number in {7, 23} else 0) for number in range(40)))
    with served(tmp_path, HeldDatabase(forty, SystemClock())) as page, browser() as chrome:
        tab = Tab(chrome, page.url, **how).go("now")
        tab.until_text("40 feeds of 40 hosts: 2 in trouble, 38 well.")
        rows = tab.page.locator(".feeders tbody tr")
        assert (rows.count(), [rows.nth(each).locator("td").first.inner_text() for each in range(3)]) == (
            40,
            ["host-23", "host-07", "host-00"],
        )
        rows.first.locator("summary").click()
        assert "DELETE FROM barfeed.feeders WHERE host = 'host-23'" in rows.first.inner_text()
        # An hour later that of the worst is heard of again, and who looks need do nothing.
        note(forty, feeder("host-23"))
        tab.until_text("1 in trouble, 39 well.")
        assert tab.violations() == []
        width = tab.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]
        assert tab.complaints == []


def test_each_view_is_back_by_itself_once_the_database_is(tmp_path: Path, address: str) -> None:
    name = address.partition("?")[0].rpartition("/")[2]
    with reached_later(tmp_path, name) as (held, reach), served(tmp_path, held) as page, browser() as chrome:
        tabs = {view: Tab(chrome, page.url).go(view) for view in ("chart", "calendar", "market", "now")}
        for tab in tabs.values():
            tab.until_text("nobody listens there")
        reach()
        tabs["market"].until_text("5 series")
        tabs["now"].until_text("3 feeds of 3 hosts")
        tabs["calendar"].page.wait_for_selector(".month")
        tabs["chart"].page.wait_for_selector(".chart canvas")
        command = tabs["chart"].go("chart?symbol=BTCUSDC&interval=1h").page.locator(".gap code").first.inner_text()
        assert command.startswith("barfeed backfill --store 'postgresql://page_reader@")

"""docs/operating.md: every message has its place there, as it is printed; its commands run in `test_docs_sessions`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from barfeed.domain import errors
from barfeed.domain.acceptance import Terms
from barfeed.domain.errors import BarfeedError
from barfeed.domain.kinds.plan import Reach
from barfeed.domain.kinds.table import KINDS
from barfeed.exchange.kinds.asking import Limits
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.order import KindsOrder
from barfeed.feed.record import Record
from barfeed.replay.tapes.tape import Tape
from process import ROOT
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

PAGE = ROOT / "docs" / "operating.md"
TEXT = PAGE.read_text("utf-8")
TARGET_MS = ms(2024, 2, 10, 13)
MADE = "CREATE TABLE ohlcv_btcusdt_1h"


def family(root: type[BarfeedError]) -> list[type[BarfeedError]]:
    return [root, *(each for child in root.__subclasses__() for each in family(child))]


def test_every_error_is_on_the_page_with_its_exit_code() -> None:
    told = dict(re.findall(r"^### `(\w+)`, exit (\d+)$", TEXT, re.MULTILINE))
    # An error that others are derived from is never told by itself, but for these two.
    told_themselves = [
        each
        for each in family(BarfeedError)[1:]
        if not each.__subclasses__() or each in {errors.ExchangeUnavailable, errors.ExchangeRefused}
    ]
    assert told == {each("x").status: str(each.exit_code) for each in told_themselves}
    assert "exit 70" in TEXT


def gone(world: World, hour: int) -> None:
    world.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 {hour:02d}:00:00'")


def next_hour(world: World, fault: str = "", later: int = 1) -> Record:
    world.clock.go_to(TARGET_MS + hours(1 + later) + 30_000)
    return world.run(f"[[fault]]\n{fault}" if fault else "", max_wait_sec=10.0)


def empty(world: World) -> Record:
    world.duckdb.unlink()
    return next_hour(world)


def missed(world: World) -> Record:
    return next_hour(world, later=3)


def ahead(world: World) -> Record:
    world.execute("INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-02-10 15:00:00', 1, 1, 1, 1, 1, now())")
    return next_hour(world)


def gap_in_the_overlap(world: World) -> Record:
    gone(world, 11)
    return next_hour(world)


def gap_in_the_window(world: World) -> Record:
    gone(world, 3)
    return next_hour(world)


def short_history(world: World) -> Record:
    world.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < TIMESTAMP '2024-02-01 00:00:00'")
    return next_hour(world)


def young(world: World) -> Record:
    world.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < TIMESTAMP '2024-02-01 00:00:00'")
    return next_hour(world, 'kind = "pending"\nat = 2024-02-01T00:00:00')


def hole_of_the_exchanges(world: World) -> Record:
    gone(world, 3)
    return next_hour(world, 'kind = "hide"\nbar = 2024-02-10T03:00:00')


def corrupt(world: World) -> Record:
    world.duckdb.write_bytes(bytes(range(256)) * 80)
    return next_hour(world)


def link_to_nowhere(world: World) -> Record:
    world.duckdb.unlink()
    world.duckdb.symlink_to("/mnt/disk/ohlcv.duckdb")
    return next_hour(world)


def another_table(*statements: str) -> Callable[[World], Record]:
    """The bars in a table of the user's own."""

    def live(world: World) -> Record:
        world.execute("ALTER TABLE ohlcv_btcusdt_1h RENAME TO mine")
        for statement in statements:
            world.execute(statement)
        return next_hour(world)

    return live


def asking(constraint: str, *before: str) -> Callable[[World], Record]:
    """The bars in a table of the user's own that asks for more."""
    values = "open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"
    columns = f"timestamp TIMESTAMP PRIMARY KEY, {values}, created_at TIMESTAMP, {constraint}"
    return another_table(*before, f"{MADE} ({columns})", "INSERT INTO ohlcv_btcusdt_1h FROM mine")


def view_of_revisions(world: World) -> Record:
    world.execute("CREATE VIEW ohlcv_revisions AS FROM ohlcv_btcusdt_1h")
    world.clock.go_to(TARGET_MS + hours(2) + 30_000)
    return world.run(f"[[fault]]\n{REVISED}", accept=Terms(1.0, 1e9, 0.0))


def late_kind(world: World) -> Record:
    order = KindsOrder((KINDS["premium_index"],), Reach(6, 6), 15.0)
    world.feed = world.feed._replace(kinds=Kinds(order, world.store.kinds, world.rest, Limits(world.clock)))
    assert world.run().exit_code == 0
    record = next_hour(world, 'kind = "empty"\npath = "premiumIndexKlines"')
    assert record.kinds
    assert record.kinds.worst
    [(message, _)] = record.kinds.complaints
    record.failure = record.kinds.worst._replace(message=message)
    return record


def file_for_a_folder(world: World) -> Record:
    moved = world.feed.folder.rename(world.feed.folder.with_name("moved"))
    world.feed.folder.write_text("")
    assert moved.is_dir()
    return next_hour(world)


REVISED = 'kind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 1234.567'
REFUSED = 'kind = "status"\nstatus = 400\ncode = -1121\nmsg = "Invalid symbol."'
DEARER = 'kind = "text"\nbar = 2024-02-10T14:00:00\ncolumn = 7\nvalue = \'"99999999999.5"\''
DOWN = 'kind = "status"\nstatus = 503\ncode = -1001\nmsg = "Internal error; unable to process your request."'
BANNED = 'kind = "status"\nstatus = 418\nretry_after = 120'

HALTED = 'kind = "halt"\nat = 2024-02-10T14:00:00'
TO_COME = 'kind = "pending"\nat = 2024-02-12T09:30:00'
SETTLED = 'kind = "settle"\nat = 2024-02-10T13:30:00\nuntil_bar = 2024-02-10T13:00:00'
DELISTED = 'kind = "delist"\nat = 2024-02-10T13:30:00'

# What happens, and the status under which the page tells it.
SCENES: dict[str, tuple[Callable[[World], Record], str]] = {
    "an empty store": (empty, "store_empty"),
    "missed hours": (missed, "missed_bars"),
    "bars of the future": (ahead, "store_ahead"),
    "a revised bar": (lambda world: next_hour(world, REVISED), "mismatch"),
    "a gap in the overlap": (gap_in_the_overlap, "window_gap"),
    "a gap in the window": (gap_in_the_window, "window_gap"),
    "a short history": (short_history, "window_gap"),
    "a young symbol": (young, "window_gap"),
    "a hole of the exchange's own": (hole_of_the_exchanges, "window_gap"),
    "an exchange that is down": (lambda world: next_hour(world, DOWN), "exchange_unavailable"),
    "a late bar": (lambda world: next_hour(world, 'kind = "late"\nsec = 3599\nrows = 2'), "bar_late"),
    "another kind that is late": (late_kind, "kind_late"),
    "a halt": (lambda world: next_hour(world, HALTED), "symbol_not_trading"),
    "a symbol that is still to come": (lambda world: next_hour(world, TO_COME), "symbol_not_trading"),
    "a settled symbol": (lambda world: next_hour(world, SETTLED), "symbol_gone"),
    "a delisted symbol": (lambda world: next_hour(world, DELISTED), "symbol_gone"),
    "a ban": (lambda world: next_hour(world, BANNED), "exchange_blocked"),
    "a refusal": (lambda world: next_hour(world, REFUSED), "exchange_refused"),
    "a forming bar": (lambda world: next_hour(world, 'kind = "forming"'), "contract_broken"),
    "a row that contradicts itself": (lambda world: next_hour(world, DEARER), "contract_broken"),
    "a corrupt store": (corrupt, "store_unusable"),
    "a link to nowhere": (link_to_nowhere, "store_unusable"),
    "a table without a key": (another_table(f"{MADE} AS FROM mine"), "store_unusable"),
    "a table of a pandas frame": (
        another_table(f"{MADE} AS SELECT timestamp::TIMESTAMP_NS AS timestamp, * EXCLUDE timestamp FROM mine"),
        "store_unusable",
    ),
    "a view": (another_table(f"{MADE.replace('TABLE', 'VIEW')} AS FROM mine"), "store_unusable"),
    "a CHECK": (asking("CHECK (timestamp < '2024-02-10 14:00')"), "store_unusable"),
    "a foreign key": (
        asking(
            "FOREIGN KEY (timestamp) REFERENCES calendar (moment)",
            "CREATE TABLE calendar (moment TIMESTAMP PRIMARY KEY)",
            "INSERT INTO calendar SELECT timestamp FROM mine",
        ),
        "store_unusable",
    ),
    "a view for the revisions": (view_of_revisions, "store_unusable"),
    "no folder to write to": (file_for_a_folder, "artifacts_unusable"),
}


def section(status: str) -> str:
    return TEXT.split(f"### `{status}`, ")[1].split("\n### `")[0].split("\n## ")[0]


@pytest.fixture
def lived(tmp_path: Path) -> World:
    """A store of 726 bars that ends at 13:00; it is 14:00:30 on the exchange."""
    bars = made_up_bars(TARGET_MS + hours(10), 2010)
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + hours(1) + 30_000)
    assert world.run(catch_up=True).exit_code == 0
    return world


def test_every_message_on_the_page_is_one_that_is_lived_here() -> None:
    shown = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
    assert len(shown) == len(SCENES)


@pytest.mark.parametrize("scene", SCENES)
def test_a_message_is_on_the_page_as_the_feed_prints_it(lived: World, tmp_path: Path, scene: str) -> None:
    live, status = SCENES[scene]
    failure = live(lived).failure
    assert failure is not None
    assert failure.status == status
    said = f"barfeed: {failure.message}\n  hint: {failure.hint}".replace(str(tmp_path), "/srv/barfeed/data")
    assert said in section(status)


def test_every_hint_with_a_command_names_one_that_exists() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src" / "barfeed").rglob("*.py"))
    named = set(re.findall(r"\bbarfeed (run|repair|backfill|verify|status|revisions|export|prune|replay)\b", source))
    modules = {path.stem for path in (ROOT / "src" / "barfeed" / "cli" / "commands").rglob("*.py")}
    assert {"run", "repair", "backfill"} <= named <= modules


# Messages that other tests live: cli/test_settings, history/backfill, machine/test_disks, exchange/test_socks,
# store/lake.
OF_THE_MACHINE = {
    "usage_error": [
        "begins or ends with a quote", "begins or ends with a blank or a line break", "which nobody has replaced",
        "begins with the home of nobody", "is no path on this machine", "is a path of Windows",
        "is a table, and settings stand in none", "is UTF-16 text, expected UTF-8", "--plain-decimals is of no use for",
        "its only bar is left out", "it is no number", "it is no table of bars: its only column is", "is a tar archive",
        "it is packed in a way that is not read here", "it is encrypted; unpack it", "it holds no file of bars",
        "it cannot be unpacked", "nor any other", "the last to be taken", "came twice",
    ],
    "symbol_gone": ["what comes after it was not traded and is left out", "the exchange has no newer bar"],
    "store_unusable": [
        "is held by a process of another container or host", "is on a disk that cannot lock files",
        "is on a disk that cannot be flushed",
    ],
    "artifacts_unusable": ["stands whole, but its folder cannot be flushed to the disk"],
    "lake_unusable": [
        "cannot be used", "cannot be written", "is another store's", "is ahead of the store", "and no manifest",
        "which is not in its manifest", "is no manifest of a lake", "was written by a newer barfeed",
        "was moved or copied",
    ],
}  # fmt: skip


@pytest.mark.parametrize("status", OF_THE_MACHINE)
def test_a_message_about_the_users_own_machine_has_its_place_on_the_page(status: str) -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src" / "barfeed").rglob("*.py"))
    for words in OF_THE_MACHINE[status]:
        assert words in source
        assert words in section(status)

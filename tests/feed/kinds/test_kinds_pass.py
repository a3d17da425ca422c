"""Kinds beside the bars of a market: each is fed as bars are, and no trouble of one is another's or the bars'."""

import hashlib
import json
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.feed.market.record import MarketRecord
from barfeed.operate.alerts.hearing import heard
from feed.kinds.kinds_world import LATER_MS, NOW_MS, ONE_HOUR, SYMBOLS, TARGET_MS, WINDOW, FirstPass, KindsWorld
from storage import opened
from world import ms

LATE = '[[fault]]\nkind = "empty"\npath = "openInterestHist"\n'
TERMS = Terms(0.001, 0.2, 5.0)
REFUSED = '[[fault]]\nkind = "status"\nstatus = 400\npath = "premiumIndexKlines"\n'


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> FirstPass:
    """A first pass with every kind, to look at."""
    world = KindsWorld(tmp_path_factory.mktemp("first"))
    return FirstPass(world, world.run_pass(catch_up=True))


@pytest.fixture
def world(first: FirstPass, tmp_path: Path) -> KindsWorld:
    """A market that has lived its first pass with every kind."""
    return first.copy(tmp_path)


def left(record: MarketRecord) -> dict[str, str]:
    assert record.kinds
    return {each.kind: each.status for each in record.kinds.kinds}


def assert_heard(world: KindsWorld, record: MarketRecord, told: dict[str, str | None]) -> None:
    """People hear of these matters that their status is this; None where they hear nothing of one."""
    matters = world.matters(record)
    assert {matter: matters.get(matter) for matter in told} == told


def pass_on(world: KindsWorld, fault: str = "") -> MarketRecord:
    """One pass an hour later."""
    world.clock.go_to(world.clock.now_ms + HOUR_MS)
    world.exchange.requests.clear()
    return world.run_pass(fault, catch_up=True)


def test_a_first_pass_has_a_window_of_every_kind_as_the_exchange_tells_it(first: FirstPass) -> None:
    world, record = first
    assert (record.status, record.exit_code, set(left(record).values())) == ("appended", 0, {"appended"})
    for kind in KINDS.values():
        last_ms = min(kind.newest_due_ms(NOW_MS, ONE_HOUR), TARGET_MS + HOUR_MS)
        first_ms = last_ms - (WINDOW - 1) * HOUR_MS if kind.length else last_ms // HOUR_MS * HOUR_MS - WINDOW * HOUR_MS
        for symbol in SYMBOLS:
            assert world.kept(kind, symbol) == world.told(kind, symbol, first_ms, last_ms), (kind.name, symbol)


@pytest.mark.long
def test_the_other_columns_of_klines_come_of_the_same_request(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "klines")
    world.run_pass(catch_up=True)
    assert world.exchange.requests["/fapi/v1/klines"] == len(SYMBOLS)
    pass_on(world)
    assert world.exchange.requests["/fapi/v1/klines"] == len(SYMBOLS)
    assert len(world.kept(KINDS["klines"], "BTCUSDT")) == WINDOW + 1


@pytest.mark.long
def test_a_store_that_has_bars_already_gets_their_other_columns_by_itself(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "klines")
    with_kinds, world.feed = world.feed, world.feed._replace(kinds=None)
    world.run_pass(catch_up=True)
    world.feed = with_kinds
    assert left(pass_on(world)) == {"klines": "appended"}
    assert len(world.kept(KINDS["klines"], "BTCUSDT")) == WINDOW


def test_who_names_no_kind_has_none(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    world.feed = world.feed._replace(kinds=None)
    record = world.run_pass(catch_up=True)
    assert record.kinds is None
    assert "kinds" not in json.loads(Path(record.manifest_path or "").read_text())
    assert world.exchange.requests == {"/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 3}
    with opened(world.duckdb, read_only=True) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert tables == {"ohlcv_1h", "symbols"}


@pytest.mark.long
def test_what_is_published_later_is_had_by_a_later_look_at_the_same_bar(first: FirstPass, world: KindsWorld) -> None:
    interest = KINDS["open_interest"]
    assert world.kept(interest, "BTCUSDT")[-1][0] == TARGET_MS - HOUR_MS
    # of funding a minute later, of the others five
    assert first.record.again_ms == TARGET_MS + HOUR_MS + MINUTE_MS
    world.clock.go_to(NOW_MS + LATER_MS)
    record = world.run_pass(catch_up=True)
    assert record.again_ms is None
    assert world.kept(interest, "BTCUSDT")[-1][0] == TARGET_MS
    assert world.known(interest)["BTCUSDT", TARGET_MS] == TARGET_MS + HOUR_MS + 5 * MINUTE_MS


@pytest.mark.long
def test_what_is_late_is_told_published_without_and_had_by_the_next_pass(world: KindsWorld) -> None:
    interest = KINDS["open_interest"]
    record = pass_on(world, LATE)
    assert (record.status, record.exit_code, len(record.fresh)) == ("kind_late", 3, 3)
    assert {kind: status for kind, status in left(record).items() if status != "appended"} == {
        "funding": left(record)["funding"], "open_interest": "kind_late",
    }  # fmt: skip
    [(message, hint)] = record.complaints
    assert message == (
        "3 series (1000PEPEUSDT, BTCUSDT, ETHUSDT): open_interest of 2026-03-10 13:00 is due,"
        " and the exchange does not show it yet"
    )
    assert hint == "the next pass asks for it again: it is late, not lost"
    assert " kinds=11 " in record.line()
    assert " kinds_failed=open_interest " in record.line()
    assert record.line().startswith("failed=kind_late exit=3 series=3 appended=3 ")
    assert_heard(world, record, {"kind open_interest": None, "cycle": ""})
    # It was there for nobody before this pass had it, whatever its period.
    world.with_kinds("premium_index", "open_interest")
    record = pass_on(world)
    assert (record.exit_code, left(record)["open_interest"]) == (0, "appended")
    had_ms = world.clock.now_ms
    known = world.known(interest)
    assert known["BTCUSDT", TARGET_MS] == had_ms
    assert known["BTCUSDT", TARGET_MS + HOUR_MS] == TARGET_MS + 2 * HOUR_MS + 5 * MINUTE_MS
    assert world.kept(interest, "BTCUSDT") == world.told(
        interest, "BTCUSDT", TARGET_MS - WINDOW * HOUR_MS, TARGET_MS + HOUR_MS
    )


@pytest.mark.long
def test_one_kind_s_trouble_is_no_other_s(world: KindsWorld) -> None:
    record = pass_on(world, REFUSED)
    statuses = left(record)
    assert statuses.pop("premium_index") == "exchange_refused"
    assert set(statuses.values()) <= {"appended", "up_to_date"}
    assert (record.exit_code, record.is_of_use, len(record.fresh)) == (5, True, 3)
    assert_heard(world, record, {"kind premium_index": "exchange_refused", "cycle": ""})
    world.with_kinds("premium_index", "open_interest")
    record = pass_on(world)
    assert left(record)["premium_index"] == "appended"
    assert_heard(world, record, {"kind premium_index": "", "cycle": ""})
    assert [at_ms for at_ms, *_ in world.kept(KINDS["premium_index"], "ETHUSDT")][-2:] == [
        TARGET_MS + HOUR_MS, TARGET_MS + 2 * HOUR_MS,
    ]  # fmt: skip


@pytest.mark.long
def test_what_the_exchange_contradicts_is_told_with_both_values_kept_as_evidence_and_not_appended(
    first: FirstPass, tmp_path: Path
) -> None:
    world = first.copy(tmp_path, "mark_price", "premium_index")
    world.execute(
        f"UPDATE mark_price_1h SET close = close + 1 WHERE symbol = 'BTCUSDT' AND epoch_ms(timestamp) = {TARGET_MS}"
    )
    record = pass_on(world)
    assert (record.exit_code, left(record)) == (1, {"mark_price": "mismatch", "premium_index": "appended"})
    [(message, _)] = record.complaints
    assert message.startswith(
        "BTCUSDT 1h mark_price: 1 of 5 stored rows differ from the exchange; first: 2026-03-10 13:00"
    )
    [*_, kept] = world.kept(KINDS["mark_price"], "BTCUSDT")
    assert kept[0] == TARGET_MS
    assert world.kept(KINDS["mark_price"], "ETHUSDT")[-1][0] == TARGET_MS + HOUR_MS
    assert record.kinds
    assert record.kinds.pull
    query = (
        "SELECT close FROM read_parquet(?) WHERE kind = 'mark_price' AND symbol = 'BTCUSDT' AND epoch_ms(timestamp) = ?"
    )
    [(said,)] = duckdb.execute(query, [str(world.feed.folder / record.kinds.pull.file), TARGET_MS]).fetchall()
    assert kept[-1] == said + 1


def off(world: KindsWorld, table: str, column: str, factor: float, symbol: str = "BTCUSDT") -> None:
    """What is stored of a symbol's newest row is this much of what the exchange says."""
    newest = f"symbol = '{symbol}' AND epoch_ms(timestamp) = {TARGET_MS}"
    world.execute(f"UPDATE {table} SET {column} = {column} * {factor} WHERE {newest}")


def test_what_is_contradicted_within_the_terms_is_taken_where_the_exchange_says_it_twice(
    first: FirstPass, tmp_path: Path
) -> None:
    world = first.copy(tmp_path, "klines", "mark_price")
    # One of them of all series, which leaves none for the first transaction.
    for symbol in SYMBOLS:
        off(world, "mark_price_1h", "high", 1.0005, symbol)
    off(world, "klines_1h", "quote_volume", 0.9)
    world.with_kinds("klines", "mark_price", accept=TERMS)
    record = pass_on(world)
    assert (record.exit_code, left(record)) == (0, {"klines": "appended", "mark_price": "appended"})
    assert record.kinds
    assert [each.revised for each in record.kinds.kinds] == [1, 3]
    assert " revised_of_kinds=4 " in record.line()
    for name in ("klines", "mark_price"):
        kind = KINDS[name]
        assert world.kept(kind, "BTCUSDT")[-2:] == world.told(kind, "BTCUSDT", TARGET_MS, TARGET_MS + HOUR_MS)
        # It was there in time, and is told to have been.
        assert world.known(kind)["BTCUSDT", TARGET_MS + HOUR_MS] == TARGET_MS + 2 * HOUR_MS
    with opened(world.duckdb, read_only=True) as connection:
        rows = connection.execute("SELECT kind, name, reason, run FROM kinds_revisions ORDER BY kind").fetchall()
    told = [("klines", "quote_volume"), *[("mark_price", "high")] * 3]
    assert rows == [(*each, "--on-mismatch accept", record.run_time) for each in told]


@pytest.mark.parametrize(
    ("factor", "fault", "said"),
    [
        (1.01, "", "not accepted: 2026-03-10 13:00 high is off by 0.0099, --accept-within is 0.001"),
        (
            1.0005,
            '[[fault]]\nkind = "empty"\npath = "markPriceKlines"\nfrom = 2026-03-10T15:00:31\n',
            "not accepted: asked again, the exchange said something else",
        ),
    ],
)
def test_what_is_beyond_the_terms_or_not_said_twice_is_refused(
    first: FirstPass, tmp_path: Path, factor: float, fault: str, said: str
) -> None:
    world = first.copy(tmp_path, "mark_price")
    off(world, "mark_price_1h", "high", factor)
    world.with_kinds("mark_price", accept=TERMS)
    record = pass_on(world, fault)
    assert (record.exit_code, left(record)) == (1, {"mark_price": "mismatch"})
    assert said in record.complaints[0][0]
    assert world.kept(KINDS["mark_price"], "BTCUSDT")[-1][0] == TARGET_MS
    assert world.kept(KINDS["mark_price"], "ETHUSDT")[-1][0] == TARGET_MS + HOUR_MS


def test_where_the_table_of_changes_is_anothers_only_what_would_be_changed_is_refused(
    first: FirstPass, tmp_path: Path
) -> None:
    world = first.copy(tmp_path, "mark_price", "premium_index")
    off(world, "mark_price_1h", "high", 1.0005)
    world.execute("CREATE TABLE kinds_revisions (mine INTEGER)")
    world.with_kinds("mark_price", "premium_index", accept=TERMS)
    record = pass_on(world)
    assert (record.exit_code, left(record)) == (4, {"mark_price": "store_unusable", "premium_index": "appended"})
    assert record.complaints[0][0].startswith("table kinds_revisions has another shape: mine INTEGER")
    assert [world.kept(KINDS["mark_price"], each)[-1][0] for each in ("BTCUSDT", "ETHUSDT")] == [
        TARGET_MS,
        TARGET_MS + HOUR_MS,
    ]


def test_a_dry_run_tells_what_would_be_accepted(first: FirstPass, tmp_path: Path) -> None:
    world = first.copy(tmp_path, "mark_price")
    off(world, "mark_price_1h", "high", 1.0005)
    before = world.kept(KINDS["mark_price"], "BTCUSDT")
    world.with_kinds("mark_price", accept=TERMS, dry_run=True)
    record = pass_on(world)
    assert (record.exit_code, left(record)) == (0, {"mark_price": "appended"})
    assert record.kinds
    assert (record.kinds.kinds[0].appended, record.kinds.kinds[0].revised) == (3, 1)
    assert world.kept(KINDS["mark_price"], "BTCUSDT") == before


def test_a_dry_run_tells_what_would_be_appended_and_makes_nothing(world: KindsWorld) -> None:
    before = world.duckdb.read_bytes()
    world.with_kinds("premium_index", "open_interest", dry_run=True)
    world.clock.go_to(NOW_MS + HOUR_MS)
    record = world.run_pass(catch_up=True, dry_run=True)
    assert record.kinds
    assert record.kinds.appended == 6
    assert " would_append_rows=6 " in record.line()
    assert world.duckdb.read_bytes() == before


@pytest.mark.long
def test_the_same_pass_twice_appends_nothing(world: KindsWorld) -> None:
    world.clock.go_to(NOW_MS + 5_000)
    record = world.run_pass(catch_up=True)
    assert record.kinds
    assert (record.exit_code, record.kinds.appended) == (0, 0)
    # Whether funding was settled since nobody knows, nor whether there is a spot market by now.
    assert world.exchange.requests == {
        "/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 3, "/fapi/v1/fundingRate": 3,
        "/api/v3/klines": 1,
    }  # fmt: skip


def test_what_has_no_spot_market_is_nobody_s_trouble(first: FirstPass) -> None:
    assert first.record.exit_code == 0
    assert first.world.kept(KINDS["spot_klines"], "1000PEPEUSDT") == []
    assert len(first.world.kept(KINDS["spot_klines"], "BTCUSDT")) == WINDOW


@pytest.mark.long
def test_the_manifest_has_each_kind(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "klines", "mark_price", "funding", "open_interest")
    record = world.run_pass(LATE, catch_up=True)
    told = json.loads(Path(record.manifest_path or "").read_text())
    assert [each["kind"] for each in told["kinds"]][:2] == ["klines", "mark_price"]
    assert told["kinds"][1] == {
        "kind": "mark_price", "status": "appended", "series": 3, "validated": 0, "appended": 144, "revised": 0,
        "message": "", "hint": "", "failed": [], "warnings": [],
    }  # fmt: skip
    assert told["kinds_again"] == "2026-03-10 14:01"
    assert told["durations_sec"]["kinds"] >= 0


@pytest.mark.long
def test_a_watch_looks_again_when_there_is_more_to_be_had_of_a_bar(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS - 20_000, "premium_index", "funding", "open_interest")
    records = world.watch(4, kinds_within=ONE_HOUR)
    assert [record.target_ms for record in records] == [TARGET_MS] * 3 + [TARGET_MS + HOUR_MS]
    assert [record.exit_code for record in records] == [0] * 4
    # The windows are given out once a bar.
    assert [len(record.fresh) for record in records] == [3, 0, 0, 3]
    assert world.known(KINDS["open_interest"])["BTCUSDT", TARGET_MS] == TARGET_MS + HOUR_MS + 5 * MINUTE_MS
    with duckdb.connect(world.duckdb, read_only=True) as connection:
        assert "kinds_late" not in {
            name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        }


@pytest.mark.long
def test_once_a_day_a_pass_tells_what_is_missing_and_how_long_it_can_be_had(tmp_path: Path) -> None:
    midnight_ms = ms(2026, 3, 10)
    world = KindsWorld(tmp_path, midnight_ms - 2 * HOUR_MS + LATER_MS, "open_interest")
    record = world.run_pass(catch_up=True)
    assert record.kinds
    assert record.kinds.holes is None
    world.execute(
        "DELETE FROM open_interest_1h WHERE symbol = 'ETHUSDT' AND timestamp = TIMESTAMP '2026-03-09 05:00:00'"
    )
    world.clock.go_to(midnight_ms + LATER_MS)
    record = world.run_pass(catch_up=True)
    assert record.kinds
    [(told, hint)] = record.kinds.holes or []
    assert told == (
        "open_interest 1h: 1 row missing of 1 series (ETHUSDT), the first 2026-03-09 05:00 of ETHUSDT;"
        " 29.2 days are left before the exchange forgets it"
    )
    # It is no failure of this pass; people hear of it, and later that it is over.
    assert record.exit_code == 0
    talk = world.rest.conversation(1.0)
    [matter] = [each for each in heard(record, talk, 5.0) if each.matter == "kinds"]
    assert (matter.status, matter.message, matter.hint) == ("kind_missing", told, hint)
    assert json.loads(Path(record.manifest_path or "").read_text())["kinds_missing"] == [told]


@pytest.mark.long
def test_readers_find_a_view_of_each_symbol_that_is_named(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS)
    world.with_kinds("mark_price", "premium_index", views_of=("BTCUSDT", "ETHUSDT"))
    world.run_pass(catch_up=True)
    assert pass_on(world).exit_code == 0
    with opened(world.duckdb, read_only=True) as connection:
        rows = connection.execute("SELECT epoch_ms(timestamp) FROM mark_price_ethusdt_1h").fetchall()
        assert [at_ms for (at_ms,) in rows] == [at_ms for at_ms, *_ in world.kept(KINDS["mark_price"], "ETHUSDT")]
        assert not connection.execute("FROM duckdb_views() WHERE view_name LIKE '%1000pepe%'").fetchall()


def test_what_the_exchange_said_is_kept_as_evidence(first: FirstPass) -> None:
    world, record = first
    assert record.kinds
    assert record.kinds.pull
    file = world.feed.folder / record.kinds.pull.file
    assert file.name.endswith("_kinds_pull.parquet")
    told = json.loads(Path(record.manifest_path or "").read_text())["files"]["kinds_pull"]
    assert told == {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), "rows": told["rows"]}
    columns = "epoch_ms(timestamp), open_interest, open_interest_value"
    query = f"SELECT {columns} FROM read_parquet(?) WHERE kind = ? AND symbol = ?"
    for symbol in SYMBOLS:
        said = duckdb.execute(query, [str(file), "open_interest", symbol]).fetchall()
        assert said == world.kept(KINDS["open_interest"], symbol)
    # What came with the bars is with theirs.
    assert duckdb.execute("SELECT count(*) FROM read_parquet(?) WHERE kind = 'klines'", [str(file)]).fetchall() == [
        (0,)
    ]


def test_where_nothing_but_bars_was_asked_for_there_is_no_evidence_beside_theirs(world: KindsWorld) -> None:
    world.with_kinds("klines")
    record = pass_on(world)
    assert record.kinds
    assert record.kinds.pull is None


@pytest.mark.long
def test_a_watch_asks_again_for_the_kind_that_lacks_and_for_no_bar(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "premium_index", "mark_price")
    assert world.run_pass(catch_up=True).exit_code == 0
    world.clock.go_to(NOW_MS + HOUR_MS - 20_000)
    world.exchange.requests.clear()
    late = '[[fault]]\nkind = "empty"\npath = "premiumIndexKlines"\nuntil = 2026-03-10T15:00:40\n'
    records = world.watch(3, late, kinds_within=ONE_HOUR)
    assert [record.status for record in records] == ["kind_late", "kind_late", "up_to_date"]
    # The windows are given out once, and the bars are asked for once.
    assert [len(record.fresh) for record in records] == [3, 0, 0]
    assert world.exchange.requests["/fapi/v1/klines"] == world.exchange.requests["/fapi/v1/markPriceKlines"] == 3
    # It came late, and is known from then.
    assert world.known(KINDS["premium_index"])["BTCUSDT", TARGET_MS + HOUR_MS] > TARGET_MS + 2 * HOUR_MS + 30_000

"""What every store must do with the kinds beside its bars, once for all of them: a file, and a database on a server."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS
from barfeed.machine.clock import SystemClock
from barfeed.store.kinds.revisions import Change, Why
from barfeed.store.kinds.tables import Late
from barfeed.store.port.embedded import Embedded
from barfeed.store.port.history import History
from barfeed.store.port.kinds import KeptKinds
from barfeed.store.postgres.server import Server
from barfeed.store.troubles import disk
from pg_server import new_market, user_of
from world import made_up_bars, ms

H1 = Interval.ONE_HOUR
T0_MS = ms(2026, 3, 10, 13)
INTEREST, FUNDING, KLINES = KINDS["open_interest"], KINDS["funding"], KINDS["klines"]
BTC = [Row(T0_MS + hour * HOUR_MS, T0_MS + (hour + 1) * HOUR_MS, (0.1 + hour, None)) for hour in range(5)]
ETH = [Row(T0_MS, T0_MS + 7, (1e-17, 123456789.123456789))]
WHY = Why(T0_MS + 1, "because", "a run")


class Kept(NamedTuple):
    store: History
    # The same store, as another process has it.
    other: Callable[[], KeptKinds]

    @property
    def kinds(self) -> KeptKinds:
        return self.store.kinds


@pytest.fixture(params=["duckdb", "postgres"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    servers: list[Server] = []

    def opened() -> History:
        if request.param == "duckdb":
            return Embedded(tmp_path / "market.duckdb", SystemClock(), 5.0)
        # With no more rights than a feeder has, who may make no table.
        servers.append(Server(address, SystemClock(), 5.0, tmp_path / "server.json"))
        return servers[-1]

    address = user_of(new_market(), "barfeed_feeder") if request.param == "postgres" else ""
    yield Kept(opened(), lambda: opened().kinds)
    for each in servers:
        each.close()


def filled(kept: Kept) -> KeptKinds:
    with kept.kinds.writing(INTEREST, H1) as table:
        assert table.append({"BTCUSDT": BTC, "ETHUSDT": ETH}) == {"BTCUSDT": 5, "ETHUSDT": 1}
    return kept.other()


def test_what_is_appended_reads_back_to_the_bit(kept: Kept) -> None:
    with filled(kept).reading(INTEREST, H1) as table:
        assert table.rows({"BTCUSDT": 0, "ETHUSDT": 0, "XRPUSDT": 0}) == {"BTCUSDT": BTC, "ETHUSDT": ETH}
        assert table.rows({"BTCUSDT": BTC[3].timestamp_ms}) == {"BTCUSDT": BTC[3:]}
        assert table.between("BTCUSDT", BTC[1].timestamp_ms, BTC[2].timestamp_ms) == BTC[1:3]
        assert table.newest(["BTCUSDT", "XRPUSDT"]) == {"BTCUSDT": BTC[-1].timestamp_ms}
        assert table.newest(["ETHUSDT"], T0_MS + 1) == {}
        assert table.oldest(["BTCUSDT", "XRPUSDT"]) == {"BTCUSDT": T0_MS}
        assert table.symbols() == ["BTCUSDT", "ETHUSDT"]
        assert (table.rows({}), table.newest([]), table.oldest([])) == ({}, {}, {})


def test_nothing_is_there_of_a_kind_that_never_came(kept: Kept) -> None:
    with kept.kinds.reading(INTEREST, H1) as table:
        assert (table.rows({"BTCUSDT": 0}), table.symbols(), table.newest(["BTCUSDT"])) == ({}, [], {})
        assert (table.was_late(0), table.between("BTCUSDT", 0, T0_MS)) == ({}, [])
        assert table.lacking({"BTCUSDT": Gap(T0_MS, T0_MS, 1)}, HOUR_MS, HOUR_MS) == {"BTCUSDT": [Gap(T0_MS, T0_MS, 1)]}
    assert kept.kinds.newest([INTEREST, FUNDING], H1, ["BTCUSDT"], 0) == {"open_interest": {}, "funding": {}}


def test_all_kinds_are_seen_in_one_look(kept: Kept) -> None:
    found = filled(kept).newest([INTEREST, FUNDING], H1, ["BTCUSDT", "ETHUSDT", "XRPUSDT"], T0_MS + HOUR_MS)
    assert found == {"open_interest": {"BTCUSDT": BTC[-1].timestamp_ms, "ETHUSDT": T0_MS}, "funding": {}}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_has_its_table(kept: Kept, kind: Kind) -> None:
    values = tuple(place if each.is_count else place + 0.1 for place, each in enumerate(kind.columns))
    rows = [Row(T0_MS + 7, T0_MS + 60_007, values), Row(T0_MS + HOUR_MS, T0_MS + HOUR_MS, (None,) * len(values))]
    for interval in kind.intervals[-2:]:
        with kept.kinds.writing(kind, interval) as table:
            table.append({"BTCUSDT": [row._replace(timestamp_ms=row.timestamp_ms + interval.ms) for row in rows]})
            table.make_views(["BTCUSDT"])
    with kept.other().reading(kind, kind.intervals[-1]) as table:
        # What has no period is one table for all intervals.
        assert len(table.rows({"BTCUSDT": 0})["BTCUSDT"]) == (2 if kind.length else 4)
        assert repr(table.rows({"BTCUSDT": 0})["BTCUSDT"][-2].values) == repr(values)


def test_what_is_there_is_never_written_again(kept: Kept) -> None:
    changed = [row._replace(values=(9.0, 9.0)) for row in BTC]
    with filled(kept).writing(INTEREST, H1) as table:
        assert table.append({"BTCUSDT": changed}) == {"BTCUSDT": 0}
        assert table.rows({"BTCUSDT": 0}) == {"BTCUSDT": BTC}


def test_a_transaction_is_whole_or_nothing(kept: Kept) -> None:
    def append_and_fail() -> None:
        with kept.kinds.writing(FUNDING, H1) as table:
            table.append({"BTCUSDT": BTC})
            table.note_late([Late("BTCUSDT", 0, T0_MS)], T0_MS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append_and_fail()
    with kept.other().reading(FUNDING, H1) as table:
        assert (table.rows({"BTCUSDT": 0}), table.was_late(0)) == ({}, {})


def test_what_came_late_is_known_to_later_passes(kept: Kept) -> None:
    late = Late("BTCUSDT", T0_MS, T0_MS + HOUR_MS)
    with kept.kinds.writing(INTEREST, H1) as table:
        table.note_late([], T0_MS)
        table.note_late([late], T0_MS)
    with kept.other().reading(INTEREST, H1) as table:
        assert table.was_late(late.until_ms) == {"BTCUSDT": [late]}
        assert table.was_late(late.until_ms + 1) == {}
    with kept.other().reading(INTEREST, Interval.FOUR_HOURS) as table:
        assert table.was_late(0) == {}


def test_what_is_missing_is_told_as_runs(kept: Kept) -> None:
    torn = [row for row in BTC if row is not BTC[2]]
    with kept.kinds.writing(INTEREST, H1) as table:
        table.append({"BTCUSDT": torn, "ETHUSDT": ETH})
    span = Gap(T0_MS - HOUR_MS, T0_MS + 5 * HOUR_MS, 7)
    with kept.other().reading(INTEREST, H1) as table:
        found = table.lacking({"BTCUSDT": span, "ETHUSDT": Gap(T0_MS, T0_MS, 1), "XRPUSDT": span}, HOUR_MS, HOUR_MS)
    hole_ms = BTC[2].timestamp_ms
    assert found["BTCUSDT"] == [
        Gap(T0_MS - HOUR_MS, T0_MS - HOUR_MS, 1), Gap(hole_ms, hole_ms, 1), Gap(span.last_ms, span.last_ms, 1),
    ]  # fmt: skip
    assert (found["ETHUSDT"], found["XRPUSDT"]) == ([], [span])


def test_what_is_settled_at_moments_lacks_nothing_within_its_reach(kept: Kept) -> None:
    rows = [Row(T0_MS + hours * HOUR_MS + 7, T0_MS, (0.0001, None)) for hours in (0, 8, 24)]
    with kept.kinds.writing(FUNDING, H1) as table:
        table.append({"BTCUSDT": rows})
    with kept.other().reading(FUNDING, H1) as table:
        found = table.lacking({"BTCUSDT": Gap(T0_MS, T0_MS + 24 * HOUR_MS, 25)}, HOUR_MS, 8 * HOUR_MS)
    assert found == {"BTCUSDT": [Gap(T0_MS + 9 * HOUR_MS, T0_MS + 23 * HOUR_MS, 15)]}


def test_both_versions_of_what_is_changed_are_kept(kept: Kept) -> None:
    new = BTC[1]._replace(values=(7.5, 1.0))
    overtaken = Change("BTCUSDT", BTC[2]._replace(values=(9.0, None)), BTC[2])
    with filled(kept).writing(INTEREST, H1) as table:
        # What was not told before is no change.
        assert table.revise([Change("BTCUSDT", BTC[1], new), overtaken], WHY) == [Change("BTCUSDT", BTC[1], new)]
    with kept.other().reading(INTEREST, H1) as table:
        [_, row, *_] = table.rows({"BTCUSDT": 0})["BTCUSDT"]
        assert row == BTC[1]._replace(values=(7.5, None))
    [told] = kept.other().revisions(H1)
    assert told[:7] == ("open_interest", "BTCUSDT", BTC[1].timestamp_ms, "open_interest", 1.1, 7.5, WHY.seen_at_ms)
    assert (told.reason, told.run) == ("because", "a run")
    assert abs(told.accepted_at_ms - SystemClock().utc_ms()) < HOUR_MS
    assert kept.other().revisions(Interval.FOUR_HOURS) == []


def test_holes_are_rows_that_are_missing_beside_a_bar(kept: Kept) -> None:
    with kept.store.writing_market(H1) as market:
        market.append({each: made_up_bars(T0_MS + 4 * HOUR_MS, 8, each) for each in ("BTCUSDT", "ETHUSDT", "XRPUSDT")})
    now_ms = T0_MS + 5 * HOUR_MS + 10 * 60_000
    assert kept.other().holes(H1, now_ms) == []
    with kept.kinds.writing(INTEREST, H1) as table:
        table.append({"BTCUSDT": [row for row in BTC if row is not BTC[2]], "ETHUSDT": ETH})
    [found] = kept.other().holes(H1, now_ms)
    assert (found.kind, found.interval) == (INTEREST, H1)
    assert found.holes == (("BTCUSDT", 1, BTC[2].timestamp_ms), ("ETHUSDT", 4, T0_MS + HOUR_MS))
    assert kept.other().holes(H1, now_ms + 40 * 24 * HOUR_MS) == []


def test_the_windows_have_beside_them_what_was_known(kept: Kept, tmp_path: Path) -> None:
    symbols = ("BTCUSDT", "ETHUSDT")
    with kept.store.writing_market(H1) as market:
        market.append({each: made_up_bars(T0_MS + 4 * HOUR_MS, 60, each) for each in symbols})
    klines = [Row(T0_MS + HOUR_MS, T0_MS + 2 * HOUR_MS, (1.5, 17, 0.5, 0.25))]
    # Long before the window, and one behind it that was known before one that is older.
    funding = [Row(T0_MS - 400 * HOUR_MS, T0_MS - 400 * HOUR_MS, (0.0001, None))]
    with kept.kinds.writing(KLINES, H1) as table:
        table.append({"BTCUSDT": klines})
    with kept.kinds.writing(FUNDING, H1) as table:
        table.append({"ETHUSDT": funding, "BTCUSDT": [Row(T0_MS + 7, T0_MS + 3 * HOUR_MS, (0.5, 0.75))]})
    with kept.kinds.writing(INTEREST, H1) as table:
        table.append({"BTCUSDT": BTC})
    begins_ms = {"BTCUSDT": T0_MS, "ETHUSDT": T0_MS + HOUR_MS}
    path = tmp_path / "wide.parquet"
    kinds, end_ms = [KLINES, FUNDING, INTEREST], T0_MS + 3 * HOUR_MS
    with kept.other().wide_windows(kinds, H1, begins_ms, end_ms, tmp_path) as wide:
        assert wide.write(path, ("symbol", "timestamp")) == 7
        assert wide.end_of(path) == T0_MS + 3 * HOUR_MS
        assert [row[0] for row in wide.rows("ETHUSDT")] == [T0_MS + hour * HOUR_MS for hour in (1, 2, 3)]
    with closing(duckdb.connect()) as connection:
        told = connection.execute(
            "SELECT symbol, epoch_ms(timestamp), trades, funding_rate, open_interest, open_interest_age_sec"
            " FROM read_parquet(?) ORDER BY ALL", [str(path)],
        ).fetchall()  # fmt: skip
    assert told == [
        ("BTCUSDT", T0_MS, None, None, 0.1, 0.0),
        ("BTCUSDT", T0_MS + HOUR_MS, 17.0, None, 1.1, 0.0),
        ("BTCUSDT", T0_MS + 2 * HOUR_MS, None, 0.5, 2.1, 0.0),
        ("BTCUSDT", T0_MS + 3 * HOUR_MS, None, 0.5, 3.1, 0.0),
        *[("ETHUSDT", T0_MS + hour * HOUR_MS, None, 0.0001, None, None) for hour in (1, 2, 3)],
    ]


@pytest.mark.long
def test_windows_that_are_larger_than_memory_go_by_way_of_the_disk(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_MEMORY", "40MB")
    symbols = [f"S{number}USDT" for number in range(40)]
    bars, opens_ms = made_up_bars(T0_MS, 2000, "BTCUSDT"), range(T0_MS - 1999 * HOUR_MS, T0_MS + 1, HOUR_MS)
    rows = [Row(at_ms, at_ms + HOUR_MS, (at_ms / 7, at_ms / 3)) for at_ms in opens_ms]
    with kept.store.writing_market(H1) as market:
        market.append(dict.fromkeys(symbols, bars))
    with kept.kinds.writing(INTEREST, H1) as table:
        table.append(dict.fromkeys(symbols, rows))
    path, aside = tmp_path / "wide.parquet", tmp_path / "aside"
    aside.mkdir()
    begins_ms = dict.fromkeys(symbols, opens_ms[0])
    with kept.other().wide_windows([INTEREST], H1, begins_ms, T0_MS, aside) as wide:
        assert wide.write(path, ("symbol", "timestamp")) == 40 * 2000
        assert [row[6] for row in wide.rows("S7USDT")] == [row.values[0] for row in rows]
        assert list(aside.iterdir())
    assert not list(aside.iterdir())

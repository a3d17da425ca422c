"""What stands in the archive's files: a header and rows of cells, each at its own time, kind by kind.

`metrics` are told as the archive tells them: up to the file of 2026-06-24 a label is the end of its five minutes, from
the next day's file on their start. The rows of a file are the same moments on both sides.
"""

from collections.abc import Callable, Iterator, Sequence
from time import gmtime, strftime
from typing import NamedTuple

from barfeed.domain.bars import MINUTE_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.replay.archive.names import DAY_MS, File
from barfeed.replay.faults.archive import VALUES, ArchiveFault
from barfeed.replay.rest.kinds.data import RATIOS
from barfeed.replay.rest.venue import Venue
from barfeed.replay.rest.view import Reel
from barfeed.replay.tapes.kinds.prices import SPOT
from barfeed.replay.tapes.klines import Kline
from barfeed.replay.tapes.rows import filled

KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
# As users saw it: files of klines up to here have no header, later ones have; those of spot never.
HEADER_FROM_MS = 1_651_363_200_000  # 2022-05-01
# From here on spot tells microseconds.
MICROSECONDS_FROM_MS = 1_735_689_600_000  # 2025-01-01
METRICS_STEP_MS = 5 * MINUTE_MS
# Said here once more, not taken from the table of kinds: who reads a label wrongly is found out.
LABEL_CHANGED_MS = 1_782_345_600_000  # 2026-06-25


class Row(NamedTuple):
    """One row: the time that it is told at, in ms, and its cells."""

    at_ms: int
    cells: list[str]


class Table(NamedTuple):
    """A file's header, and whether it is there, and its rows."""

    header: str
    has_header: bool
    rows: list[Row]


def table(venue: Venue, file: File, faults: Sequence[ArchiveFault]) -> Table | None:
    """What the file holds, None where there is nothing of the kind."""
    if file.symbol not in venue.listings:
        return None
    found = TABLES.get(file.folder, _klines)(venue, file, faults)
    return found if found and (found.rows or file.folder.endswith("klines")) else None


def _klines(venue: Venue, file: File, faults: Sequence[ArchiveFault]) -> Table | None:
    reel = venue.reel(SPOT if file.is_spot else file.folder, file.symbol, file.interval)
    if reel is None:
        return None
    rows = [_kline_row(reel, each) for each in _of_file(reel, file, faults)]
    if file.is_spot and file.from_ms >= MICROSECONDS_FROM_MS:
        rows = [row._replace(cells=in_us(row.cells)) for row in rows]
    return Table(KLINES_HEADER, file.from_ms >= HEADER_FROM_MS and not file.is_spot, rows)


def _of_file(reel: Reel, file: File, faults: Sequence[ArchiveFault]) -> Iterator[Kline]:
    for index in range(reel.tape.first_from(file.from_ms), reel.tape.first_from(file.to_ms)):
        yield _edited(reel.tape.kline(index), faults)


def _kline_row(reel: Reel, kline: Kline) -> Row:
    text = reel.text(filled(kline, reel.tape.decimals), reel.step_ms, reel.tape.decimals)
    return Row(kline.open_time_ms, text[1:-1].replace('"', "").split(","))


def _edited(kline: Kline, faults: Sequence[ArchiveFault]) -> Kline:
    for fault in faults:
        if fault.kind == "flat" and fault.touches(kline.open_time_ms):
            kline = Kline(kline.open_time_ms, kline.open, kline.open, kline.open, kline.open, 0.0, 0.0, 0, 0.0, 0.0)
        elif fault.kind == "revise" and fault.touches(kline.open_time_ms):
            kline = Kline(kline.open_time_ms, *(float(fault.args.get(name, getattr(kline, name))) for name in VALUES))
    return kline


def in_us(cells: list[str]) -> list[str]:
    """A kline's cells with its times in microseconds."""
    return [f"{cells[0]}000", *cells[1:6], f"{cells[6]}999", *cells[7:]]


def _funding(venue: Venue, file: File, _faults: Sequence[ArchiveFault]) -> Table:
    paid = venue.funding(file.symbol).between(file.from_ms, file.to_ms)
    rows = [Row(each.at_ms, [str(each.at_ms), str(each.hours), f"{each.rate:.8f}"]) for each in paid]
    return Table(FUNDING_HEADER, has_header=True, rows=rows)


def _metrics(venue: Venue, file: File, _faults: Sequence[ArchiveFault]) -> Table | None:
    trades = venue.trades(file.symbol)
    # Its first five minutes end in them, its last at midnight.
    ends = range(file.from_ms + METRICS_STEP_MS, file.to_ms + 1, METRICS_STEP_MS)
    known = [end_ms for end_ms in ends if trades.first_ms < end_ms <= trades.end_ms]
    return Table(METRICS_HEADER, has_header=True, rows=[_metric(venue, file, end_ms) for end_ms in known])


def _metric(venue: Venue, file: File, end_ms: int) -> Row:
    positions, trades = venue.positions(file.symbol), venue.trades(file.symbol)
    held = positions.held(end_ms)
    ratios = {KINDS[name].columns[0].archived: positions.ratio(name, end_ms) for name in RATIOS}
    ratios[KINDS["taker_volume"].columns[0].archived] = trades.takers(end_ms - METRICS_STEP_MS, end_ms).ratio
    label_ms = end_ms if file.from_ms < LABEL_CHANGED_MS else end_ms - METRICS_STEP_MS
    names = METRICS_HEADER.split(",")[4:]
    # Sixteen decimals, of which eight are told.
    told = [f"{held.contracts:.8f}00000000", f"{held.value:.8f}00000000", *(f"{ratios[name]:.8f}" for name in names)]
    return Row(label_ms, [strftime("%Y-%m-%d %H:%M:%S", gmtime(label_ms // 1000)), file.symbol, *told])


TABLES: dict[str, Callable[[Venue, File, Sequence[ArchiveFault]], Table | None]] = {
    "fundingRate": _funding,
    "metrics": _metrics,
}
# Of these there are files by month only, or by day only.
MONTHS_ONLY, DAYS_ONLY = frozenset({"fundingRate"}), frozenset({"metrics"})


def is_kept(file: File) -> bool:
    """Whether the archive has files of this length of the kind."""
    is_day = file.to_ms - file.from_ms == DAY_MS
    return file.folder not in (MONTHS_ONLY if is_day else DAYS_ONLY)

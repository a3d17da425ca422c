"""`barfeed status`: how the feed is."""

import json as json_text
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import Choice, choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.stores import meant_database
from barfeed.domain import grid
from barfeed.domain.errors import UsageError
from barfeed.domain.market.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from barfeed.cli.kinds.status import Told
    from barfeed.domain.bars import Interval, Series
    from barfeed.operate.market import Condition as Market
    from barfeed.operate.status import Condition
    from barfeed.store.duckdb import Store

# A look must not wait long: neither for the exchange nor for another process at the store.
_WAIT_SEC = 3.0

_SECOND_MS = 1000
_MEGABYTE = 1_000_000


class Now(NamedTuple):
    """The whole second in ms since 1970-01-01 UTC: the exchange's, or the machine's and the problem that is why."""

    ms: int
    problem: str

    @property
    def lines(self) -> list[str]:
        """As it is told."""
        clock = "the machine's clock, for the exchange did not tell" if self.problem else "the exchange's clock"
        return [f"time {grid.timestamp(self.ms)} by {clock}", *([f"  {self.problem}"] if self.problem else [])]

    @property
    def facts(self) -> dict[str, object]:
        """As JSON types."""
        clock = "machine" if self.problem else "exchange"
        return {"time": grid.timestamp(self.ms), "clock": clock, "exchange_problem": self.problem}


class _Seen(NamedTuple):
    """What there is to tell: of each series that stands alone, of each market, and of the kinds beside their bars."""

    store: "Store"
    now: Now
    conditions: "list[Condition]"
    markets: "list[Market]"
    kinds: "dict[Interval, Told]"
    buffer_hours: int

    @property
    def is_well(self) -> bool:
        return not any(each.troubles for each in self.conditions) and all(each.is_well for each in self.markets)

    @property
    def notes(self) -> list[str]:
        """What is odd about the store, and no trouble."""
        return list(dict.fromkeys(each for told in self.kinds.values() for each in told.notes))


@click.command(
    epilog=examples("barfeed status", "barfeed status --symbol ETHUSDT --json", "barfeed status --symbols all"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Tell of every series, whichever the environment names; and of each host that feeds a database, worst first.",
)
@options_of(
    "duckdb", "persist_dir", "buffer_hours", "symbol", "interval", "intervals", "base_url", "debug",
    store="Tell of a PostgreSQL database instead: what it holds, and which hosts feed it.",
    symbols="Tell of many series at once: all that are stored or trade, or names and patterns of them.",
    json="Print everything as one line of JSON.",
)  # fmt: skip
@click.pass_context
def status(context: click.Context, /, everything: bool, json: bool, **values: Any) -> int:
    """Tell coverage, gaps, lag, the last cycle and revisions; exit 0 when healthy, 1 when not.

    Of every series in the store, a market in some lines, or of the one that --symbol or --interval name.
    """
    settings = Settings(**values, json=json)
    log_to_stderr(settings)
    if everything:
        _expect_unnamed(context)
    if address := meant_database(settings.store):
        from barfeed.cli.market.database import say_database  # noqa: PLC0415 - most have a file

        return say_database(address, _now(settings), everything=everything, json=json)
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.store.duckdb import Store  # noqa: PLC0415

    many, now = None if everything else choice(settings), _now(settings)
    store = Store(settings.duckdb, SystemClock(), _WAIT_SEC)
    asked = [settings.series()] if not (many or everything) and _is_named(context) else []
    markets = [] if asked else _markets(settings, store, many, now)
    conditions = [] if many else _conditions(settings, store, asked, now, is_alone=not markets)
    kinds = _kinds(store, conditions, markets, now)
    seen = _Seen(store, now, conditions, markets, kinds, settings.buffer_hours)
    say(*([json_text.dumps(_facts(seen))] if json else _lines(seen)))
    return int(not seen.is_well)


def _expect_unnamed(context: click.Context) -> None:
    for each in ("symbol", "symbols", "interval", "intervals"):
        if context.get_parameter_source(each) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{each} does not go with --all", hint="leave one of the two out")


def _is_named(context: click.Context) -> bool:
    return any(context.get_parameter_source(name) != ParameterSource.DEFAULT for name in ("symbol", "interval"))


def _now(settings: Settings) -> Now:
    from barfeed.domain.errors import BarfeedError  # noqa: PLC0415
    from barfeed.exchange.rest import Rest  # noqa: PLC0415
    from barfeed.exchange.transport.single import open_transport  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    clock = SystemClock()
    talk = Rest(settings.base_url, open_transport(settings.base_url, clock), clock).conversation(_WAIT_SEC)
    try:
        talk.ask_time()
    except BarfeedError as problem:
        return Now(grid.floor(clock.utc_ms(), _SECOND_MS), str(problem))
    return Now(grid.floor(talk.now_ms, _SECOND_MS), "")


def _markets(settings: Settings, store: "Store", many: "Choice | None", now: Now) -> "list[Market]":
    """Those that are asked for, or all that the store has."""
    if many is None and not (many := _every_market(store)):
        return []
    from barfeed.cli.market.status import conditions  # noqa: PLC0415

    found = conditions(many, store, settings.persist_dir, now.ms, settings.buffer_hours)
    return found if store.exists() else [each._replace(troubles=(_absent(store),)) for each in found]


def _every_market(store: "Store") -> "Choice | None":
    from barfeed.store.place import markets  # noqa: PLC0415

    if not store.exists():
        return None
    with store.session(write=False) as connection:
        intervals = markets(connection)
    return Choice(Selection.of(EVERYTHING), tuple(intervals)) if intervals else None


def _conditions(
    settings: Settings, store: "Store", asked: "list[Series]", now: Now, *, is_alone: bool
) -> "list[Condition]":
    from barfeed.operate.status import judge, look, runs_of  # noqa: PLC0415

    is_there = store.exists()
    held = look(store, asked) or (look(store, [settings.series()]) if is_alone else {})
    conditions = []
    for series, bars in held.items():
        window_bars = grid.inference_bars(settings.buffer_hours, series.interval.ms)
        condition = judge(series, bars, runs_of(settings.persist_dir, series), now.ms, window_bars)
        conditions.append(condition if is_there else condition._replace(troubles=(_absent(store),)))
    return [each._replace(troubles=(*each.troubles, *_forgotten(store, each.series, now.ms))) for each in conditions]


def _forgotten(store: "Store", series: "Series", now_ms: int) -> list[str]:
    """What is missing of kinds that the exchange forgets."""
    from barfeed.store.kinds.holes import holes  # noqa: PLC0415 - as in status

    found = [each.of({series.symbol}) for each in holes(store, series.interval, now_ms)]
    return [f"{each.told(now_ms)}; {each.hint}" for each in found if each.holes]


def _kinds(store: "Store", conditions: "list[Condition]", markets: "list[Market]", now: Now) -> "dict[Interval, Told]":
    from barfeed.cli.kinds.status import Told  # noqa: PLC0415 - as in status
    from barfeed.operate.kinds import look  # noqa: PLC0415

    symbols: dict[Interval, set[str]] = {}
    for each in conditions:
        symbols.setdefault(each.series.interval, set()).add(each.series.symbol)
    for market in markets:
        symbols.setdefault(market.interval, set()).update(market.symbols)
    return {interval: Told(look(store, interval, own), now.ms) for interval, own in symbols.items()}


def _absent(store: "Store") -> str:
    return f"{store.path} does not exist; start it: {sister('run', '--catch-up')}, or point --duckdb at the store"


def _lines(seen: _Seen) -> list[str]:
    store, now = seen.store, seen.now
    lines = [line for each in seen.conditions for line in _series_text(each, seen)] + _of_markets(seen)
    lines.append(f"store {store.path}, {_bytes(store) / _MEGABYTE:.1f} MB")
    lines += [f"  note        {each}" for each in seen.notes]
    return [*lines, *now.lines, "healthy" if seen.is_well else "not healthy"]


def _of_markets(seen: _Seen) -> list[str]:
    if not seen.markets:
        return []
    from barfeed.cli.market.status import lines  # noqa: PLC0415

    return [
        line
        for each in seen.markets
        for line in lines(each, seen.buffer_hours, seen.kinds[each.interval].line(_last_bars(each)))
    ]


def _last_bars(market: "Market") -> "dict[str, int | None]":
    return {symbol: each.bars.coverage.last_ms for symbol, each in market.symbols.items()}


def _series_text(condition: "Condition", seen: _Seen) -> list[str]:
    coverage, gaps, revisions, _, unaudited = condition.bars
    held = "none"
    if coverage.first_ms is not None and coverage.last_ms is not None:
        span = f"{grid.text(coverage.first_ms)}..{grid.text(coverage.last_ms)}"
        held = f"{coverage.rows} {span}, gaps {len(gaps)}, revisions {'unknown' if revisions is None else revisions}"
    last = condition.runs.last
    return [
        f"{condition.series}",
        f"  bars        {held}",
        *(f"  gap         {gap}" for gap in gaps),
        f"  lag         {_lag(condition)}",
        f"  last cycle  {f'{last.run_time} {last.status}, target {last.target}' if last else 'none'}",
        f"  inference   {condition.runs.inference or 'none'}",
        *([f"  window      {last.made_do_with}"] if last and last.made_do_with else []),
        *seen.kinds[condition.series.interval].line({condition.series.symbol: coverage.last_ms}),
        *([f"  note        {unaudited}; {unaudited.hint}"] if unaudited else []),
        *(f"  trouble     {trouble}" for trouble in condition.troubles),
    ]


def _lag(condition: "Condition") -> str:
    if condition.lag_ms is None:
        return "no bar"
    if not condition.is_due:
        return "none; the exchange has no newer bar"
    if condition.lag_ms < 0:
        return f"none; the next bar closes in {_duration(-condition.lag_ms)}"
    return f"the next bar closed {_duration(condition.lag_ms)} ago"


def _duration(ms: int) -> str:
    """`1:05:09`, or `3 d 1:05:09`."""
    minutes, seconds = divmod(ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes:02d}:{seconds:02d}"


def _facts(seen: _Seen) -> dict[str, object]:
    store, now = seen.store, seen.now
    return {
        "healthy": seen.is_well,
        **now.facts,
        "store": {"file": str(store.path), "bytes": _bytes(store), "notes": seen.notes},
        "series": [_series_facts(each, seen) for each in seen.conditions],
        **_markets_told(seen),
    }


def _markets_told(seen: _Seen) -> dict[str, object]:
    if not seen.markets:
        return {}
    from barfeed.cli.market.status import facts  # noqa: PLC0415

    told = [
        facts(each, seen.buffer_hours) | {"kinds": seen.kinds[each.interval].facts(_last_bars(each))}
        for each in seen.markets
    ]
    return {"markets": told}


def _series_facts(condition: "Condition", seen: _Seen) -> dict[str, object]:
    (rows, first_ms, last_ms), gaps, revisions, _, unaudited = condition.bars
    last, inference = condition.runs.last, condition.runs.inference
    return {
        "symbol": condition.series.symbol,
        "interval": str(condition.series.interval),
        "bars": rows,
        "first": None if first_ms is None else grid.text(first_ms),
        "last": None if last_ms is None else grid.text(last_ms),
        "gaps": [{"first": grid.text(gap.first_ms), "last": grid.text(gap.last_ms), "bars": gap.bars} for gap in gaps],
        "lag_sec": None if condition.lag_ms is None else max(0, condition.lag_ms) / 1000,
        "last_cycle": last and {"run_time": last.run_time, "status": last.status, "exit_code": last.exit_code,
                                "target": last.target, "message": last.message},
        "inference": inference and str(condition.runs.folder / inference),
        "short_window": last.made_do_with.told() if last and last.made_do_with else None,
        "revisions": revisions,
        "kinds": seen.kinds[condition.series.interval].facts({condition.series.symbol: last_ms}),
        "notes": [f"{unaudited}; {unaudited.hint}"] if unaudited else [],
        "troubles": list(condition.troubles),
    }  # fmt: skip


def _bytes(store: "Store") -> int:
    files = (store.path, store.path.with_name(f"{store.path.name}.wal"))
    return sum(path.stat().st_size for path in files if path.exists())

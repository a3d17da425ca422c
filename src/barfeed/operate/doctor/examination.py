"""Look at everything the feed stands on, each thing in a thread of its own, and all within a time."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder
from barfeed.domain import grid, life, window
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeUnavailable, WindowGap
from barfeed.domain.life import Life, Seen
from barfeed.domain.verdict import Remedies, why_ahead
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.transport.connectivity import certificate_until
from barfeed.exchange.transport.proxies import proxy_shown
from barfeed.exchange.transport.single import open_transport
from barfeed.feed import inquiry
from barfeed.machine.clock import Clock, ExchangeTime
from barfeed.machine.locks import CANNOT_LOCK
from barfeed.operate import market, status
from barfeed.operate.doctor import checks, host
from barfeed.operate.doctor import market as market_doctor
from barfeed.operate.doctor.checks import Check
from barfeed.operate.doctor.market import Market
from barfeed.store.duckdb import Store
from barfeed.store.own.constraints import further
from barfeed.store.own.readers import oldest_reader, read_whole

if TYPE_CHECKING:
    # Only for the types: most feeds have a file.
    from barfeed.operate.doctor.database import Database

# All in all at most ten seconds, with the start of Python.
LIMIT_SEC = 8.5
_ANSWER_SEC = 4.0
_DAY_MS = 86_400_000
# A day of an hourly feed; there is to be room for the largest of them.
_RUNS_WEIGHED = 24

_UNREACHABLE = "check the address, the network, the firewall and the certificates (SSL_CERT_FILE)"

Look = Callable[[], list[Check]]

_Value = TypeVar("_Value")


class Commands(NamedTuple):
    """What mends this feed, as it is typed."""

    catch_up: str
    fill: str
    prune: str
    backfill: str


class Patient(NamedTuple):
    """The feed that is looked at.

    `extras` are each extra's packages, and the flags given that need it. The feed writes to `made`, folders that it
    makes itself, and to `metrics_folder`, which another program reads and a person makes.
    """

    series: Series
    window_bars: int
    store: Store
    persist_dir: Path
    made: Sequence[Path]
    metrics_folder: Path | None
    base_url: str
    stream_url: str
    max_skew_sec: float
    extras: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    root: Path
    home: Path
    commands: Commands
    # Many series instead of the one.
    market: Market | None = None
    # Its address, instead of the file.
    database: str = ""


def examine(patient: Patient, clock: Clock) -> list[Check]:
    """Every check in the order it is told; none of them is waited for longer than the limit."""
    end_sec = clock.steady_sec() + LIMIT_SEC
    time = _started(lambda: _ask_time(patient, clock))
    now = _started(lambda: None if patient.market else _life(patient, clock, time))
    looks = {name: _started(look) for name, look in _looks(patient, clock, time, now).items()}
    told = []
    for name, look in looks.items():
        told += _told(name, look, max(0.0, end_sec - clock.steady_sec()))
    return told


def _looks(patient: Patient, clock: Clock, time: "Future[ExchangeTime]", now: "Future[Life | None]") -> dict[str, Look]:
    looks: dict[str, Look] = {
        "exchange": lambda: _exchange(patient, time),
        "proxy": lambda: [_proxy(patient, clock)],
        "tls": lambda: [_reached("tls", patient.base_url)],
        **_of_series_or_market(patient, clock, time, now),
    }
    if patient.stream_url:
        looks["stream"] = lambda: [_reached("stream", patient.stream_url)]
    folders = [*patient.made, *([patient.metrics_folder] if patient.metrics_folder else [])]
    for folder in dict.fromkeys(folders):
        looks[f"folder {folder}"] = lambda folder=folder: [_folder(folder, patient.made)]  # type: ignore[misc] # a default binds
    return looks | {
        "space": lambda: [_room(patient)],
        "scheduler": lambda: [checks.scheduler(host.schedulers(patient.root, patient.home))],
        "extras": lambda: _extras(patient),
    }


def _of_series_or_market(
    patient: Patient, clock: Clock, time: "Future[ExchangeTime]", now: "Future[Life | None]"
) -> dict[str, Look]:
    exchange = Exchange(lambda: _now_ms(clock, time), now, lambda: _talk(patient, clock))
    if patient.database:
        return _of_database(patient, clock, exchange)
    if many := patient.market:
        return {"market": lambda: _market(patient, many, exchange), "locks": lambda: _locks(patient)}
    return {
        "symbol": lambda: [checks.symbol(patient.series, now.result())],
        "store": lambda: _store(patient, exchange),
        "locks": lambda: _locks(patient),
        "last cycle": lambda: _last_cycle(patient),
    }


def _of_database(patient: Patient, clock: Clock, exchange: "Exchange") -> dict[str, Look]:
    if any(each is None for each in host.versions(patient.extras["postgres"][0]).values()):
        # The line of its extra tells what lacks.
        return {}
    from barfeed.operate.doctor import database  # noqa: PLC0415 - most feeds have a file

    at = database.Database(
        patient.database, patient.persist_dir, patient.commands.catch_up, patient.max_skew_sec, clock
    )
    if many := patient.market:
        return {"database": lambda: _database(at, exchange, lambda: database.market_of(at, many, _asked(exchange)))}
    return {
        "symbol": lambda: [checks.symbol(patient.series, exchange.life.result())],
        "database": lambda: _database(at, exchange, lambda: _of_one(patient, at, exchange)),
        "last cycle": lambda: _last_cycle(patient),
    }


def _database(at: "Database", exchange: "Exchange", bars: Look) -> list[Check]:
    """The server and the tables, and the bars where they can be read."""
    from barfeed.operate.doctor import database  # noqa: PLC0415 - as above

    told = database.look_at(at, exchange.now_ms)
    return [*told, *bars()] if database.can_be_read(told) else told


def _of_one(patient: Patient, at: "Database", exchange: "Exchange") -> list[Check]:
    from barfeed.operate.doctor import database  # noqa: PLC0415 - as above

    bars = database.bars_of(at, patient.series, patient.window_bars)
    forgotten = database.kinds_of(at, patient.series.interval, {patient.series.symbol}, exchange.now_ms())
    return [_newest(patient, bars, exchange), _window(patient, bars, exchange), *forgotten]


def _market(patient: Patient, many: Market, exchange: "Exchange") -> list[Check]:
    asked = _asked(exchange)
    found = [market_doctor.look_at(patient.store, patient.persist_dir, many, each, asked) for each in many.intervals]
    return [check for each in found for check in each]


def _asked(exchange: "Exchange") -> market_doctor.Asked:
    return market_doctor.Asked(exchange.now_ms, _started(lambda: exchange.talk().listings(_ANSWER_SEC)).result)


def _started(do: Callable[[], _Value]) -> "Future[_Value]":
    future: Future[_Value] = Future()

    def run() -> None:
        try:
            future.set_result(do())
        except BaseException as problem:
            # It is raised where the result is asked for.
            future.set_exception(problem)

    # A daemon: what hangs, as name resolution can, must not hold up the end of the process either.
    Thread(target=run, daemon=True, name="barfeed-doctor").start()
    return future


def _told(name: str, look: "Future[list[Check]]", left_sec: float) -> list[Check]:
    if not wait([look], left_sec).done:
        return [checks.not_in_time(name, LIMIT_SEC)]
    try:
        return look.result()
    except BarfeedError as problem:
        return [Check(name, "bad", str(problem), problem.hint)]


def _talk(patient: Patient, clock: Clock) -> Conversation:
    return Rest(patient.base_url, open_transport(patient.base_url, clock), clock).conversation(_ANSWER_SEC)


def _ask_time(patient: Patient, clock: Clock) -> ExchangeTime:
    return _talk(patient, clock).ask_time()


def _life(patient: Patient, clock: Clock, time: "Future[ExchangeTime]") -> Life | None:
    """What the symbol is; None where the exchange does not tell."""
    if time.exception() is not None:
        return None
    talk = _talk(patient, clock)
    talk.time = time.result()
    return inquiry.life_of(patient.series, talk, wait_sec=_ANSWER_SEC)


def _now_ms(clock: Clock, time: "Future[ExchangeTime]") -> int:
    """The exchange's time, or the machine's if it does not tell."""
    known = wait([time], _ANSWER_SEC + 1).done and time.exception() is None
    return time.result().now_ms(clock) if known else clock.utc_ms()


def _exchange(patient: Patient, time: "Future[ExchangeTime]") -> list[Check]:
    try:
        answered = time.result()
    except ExchangeBlocked:
        raise
    except ExchangeUnavailable as problem:
        return [Check("exchange", "bad", str(problem), _UNREACHABLE)]
    seen = f"{patient.base_url} answered in {answered.round_trip_sec:.2f} s"
    return [Check("exchange", "good", seen), checks.clock(answered.skew_sec, patient.max_skew_sec)]


def _proxy(patient: Patient, clock: Clock) -> Check:
    # Nothing is asked: it raises where the proxy cannot be used at all.
    open_transport(patient.base_url, clock)
    return Check("proxy", "good", proxy_shown(patient.base_url) or "none in the environment")


def _reached(name: str, address: str) -> Check:
    if proxy := proxy_shown(address):
        seen = f"{address}: through the proxy {proxy}; not looked at"
        return Check(name, "note", seen, "the feed's own log tells when it cannot be reached there")
    try:
        return checks.certificate(name, address, certificate_until(address, _ANSWER_SEC))
    except (OSError, ValueError) as problem:
        return Check(name, "bad", f"{address}: {problem}", _UNREACHABLE)


class Exchange(NamedTuple):
    """What a look at the store asks: the exchange's time in ms, what the symbol is, and who has missing bars."""

    now_ms: Callable[[], int]
    life: "Future[Life | None]"
    talk: Callable[[], Conversation]


def _store(patient: Patient, exchange: Exchange) -> list[Check]:
    store, series = patient.store, patient.series
    if not store.exists():
        return [Check("store", "bad", f"{store.path} does not exist", f"start it: {patient.commands.catch_up}")]
    bars = status.look(store, [series])[series]
    with store.session(write=False) as connection:
        reader = oldest_reader(connection)
        if bars.coverage.rows:
            read_whole(connection, series)
        asked = [str(each) for each in further(connection, series.table)]
    library = host.versions(["duckdb"])["duckdb"]
    is_unread = bars.trouble and bars.coverage.last_ms is None
    whole = "" if is_unread else "whole, "
    seen = f"{store.path}, {whole}can be read by DuckDB {reader} and later, used with {library}"
    told = [Check("store", "good", seen)] if host.may_write(store.path) else [_read_only(store.path)]
    if bars.trouble:
        told.append(Check("table", "bad", str(bars.trouble), bars.trouble.hint))
    elif bars.coverage.rows:
        told.append(Check("key", "good", f"{series.table}: one bar an open time"))
    if asked and not bars.trouble:
        told.append(checks.constraints(series, asked))
    if bars.unaudited:
        told.append(Check("revisions", "note", str(bars.unaudited), bars.unaudited.hint))
    # Where nothing is known of its bars, there is nothing to say of them.
    if is_unread:
        return told
    forgotten = market_doctor.kinds(store, series.interval, {series.symbol}, exchange.now_ms())
    return [*told, _newest(patient, bars, exchange), _window(patient, bars, exchange), *forgotten]


def _read_only(path: Path) -> Check:
    return Check("store", "bad", f"{path} may not be written by this user", "check its owner and mode")


def _locks(patient: Patient) -> list[Check]:
    """Only where the store's disk knows none: what else is wrong with its folder is told as the folder's."""
    folder = patient.store.path.parent
    try:
        host.probe_lock(host.nearest(folder))
    except OSError as problem:
        if problem.errno in CANNOT_LOCK:
            return [checks.no_locks(folder, problem.strerror or "")]
    return []


def _newest(patient: Patient, bars: status.Bars, exchange: Exchange) -> Check:
    series, newest_ms, now_ms = patient.series, bars.coverage.last_ms, exchange.now_ms()
    if trouble := status.behind(series, newest_ms, now_ms):
        target_ms = grid.last_closed(now_ms, series.interval.ms)
        is_ahead = newest_ms is not None and newest_ms > target_ms
        now = None if is_ahead else exchange.life.result()
        if now and not life.is_due(now, target_ms):
            why = life.why_no_bar(series, now, Seen(newest_ms, patient.commands.backfill))
            return Check("newest bar", "bad", str(why), why.hint)
        fix = why_ahead(newest_ms or 0, target_ms) if is_ahead else f"catch up: {patient.commands.catch_up}"
        return Check("newest bar", "bad", f"{series}: {trouble}", fix)
    return Check("newest bar", "good", f"{series}: {grid.text(newest_ms or 0)}, one of {bars.coverage.rows}")


def _window(patient: Patient, bars: status.Bars, exchange: Exchange) -> Check:
    series, commands = patient.series, patient.commands
    last = status.runs_of(patient.persist_dir, series).last
    window_bars = status.due_bars(last, patient.window_bars)
    if trouble := status.window_gap(series, bars, window_bars):
        return _short_window(
            patient, bars, WindowGap(trouble, hint=f"see the plan to fill it: {commands.fill}"), exchange
        )
    if trouble := status.short_history(series, bars, window_bars):
        start_ms = grid.window_start(bars.coverage.last_ms or 0, window_bars, series.interval.ms)
        fix = f"fetch what is before it: {commands.backfill} --from '{grid.text(start_ms)}'"
        return _short_window(patient, bars, WindowGap(trouble, hint=fix), exchange)
    short = f" ({last.made_do_with})" if last and last.made_do_with else ""
    return Check("window", "good", f"no gap in the newest {window_bars} bars{short}")


def _short_window(patient: Patient, bars: status.Bars, gap: WindowGap, exchange: Exchange) -> Check:
    """Whether what is missing can be filled, or is to be waited for: by what the exchange has of it."""
    commands, newest_ms = patient.commands, bars.coverage.last_ms or 0
    remedies = Remedies(commands.catch_up, commands.fill, commands.backfill)
    asked = window.Asked(patient.series, newest_ms, patient.window_bars, 0, remedies)
    gaps = status.gaps_since(patient.series, bars, asked.start_ms)
    why: BarfeedError = gap
    # A proxy that is none is told by a line of its own.
    with suppress(BarfeedError):
        why = inquiry.short(gap, asked, gaps, exchange.talk()).trouble or gap
    return Check("window", "bad", str(why), why.hint)


def _last_cycle(patient: Patient) -> list[Check]:
    last = status.runs_of(patient.persist_dir, patient.series).last
    if last is None:
        return [Check("last cycle", "note", "none yet", f"run one: {patient.commands.catch_up}")]
    if trouble := status.failed(last):
        told = [Check("last cycle", "bad", trouble, checks.after(last.hint, last.status))]
    else:
        told = [Check("last cycle", "good", f"{last.run_time} {last.status}")]
    flat = status.not_traded(last)
    return [*told, checks.not_traded(flat)] if flat else told


def _folder(folder: Path, made: Sequence[Path]) -> Check:
    name = f"folder {folder}"
    try:
        there = host.nearest(folder)
        host.probe(there)
    except OSError as problem:
        said = problem.strerror or type(problem).__name__
        fix = "check that it is a folder, its owner and mode, and that its disk is neither full nor read-only"
        return Check(name, "bad", f"cannot be written: {said}", fix)
    if there == folder.absolute():
        return Check(name, "good", "writable")
    if any(each.absolute().is_relative_to(folder.absolute()) for each in made):
        return Check(name, "good", f"to be made; {there} is writable")
    return Check(name, "bad", "is not there, and the feed does not make it", shlex.join(["mkdir", "-p", str(folder)]))


def _room(patient: Patient) -> Check:
    if patient.market:
        root = patient.persist_dir
        every = [_day_bytes(market.runs_of_market(root, each), each) for each in patient.market.intervals]
        day_bytes = sum(each or 0 for each in every) or None
    else:
        day_bytes = _day_bytes(status.runs_of(patient.persist_dir, patient.series), patient.series.interval)
    return checks.room(host.free_bytes(host.nearest(patient.persist_dir)), day_bytes, patient.commands.prune)


def _day_bytes(ran: status.Runs, interval: Interval) -> int | None:
    """What the files of a day take, None where there are none yet."""
    names = reading.as_written(Folder(ran.folder))[-_RUNS_WEIGHED:] if ran.last else []
    # A failed run leaves a fraction of a good one: after a night of nothing else, the last good one tells.
    names += [reading.publisher(ran.inference)] if ran.inference else []
    run_bytes = max((host.size_bytes(ran.folder, f"{name}_") for name in names), default=None)
    return None if run_bytes is None else run_bytes * _DAY_MS // interval.ms


def _extras(patient: Patient) -> list[Check]:
    return [
        checks.installed(name, host.versions(packages), wanted_by)
        for name, (packages, wanted_by) in patient.extras.items()
    ]

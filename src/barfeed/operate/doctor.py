"""Look at everything the feed stands on, each thing in a thread of its own, and all within a time."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from typing import NamedTuple, TypeVar

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder
from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeUnavailable
from barfeed.domain.verdict import why_ahead
from barfeed.exchange.connectivity import certificate_until
from barfeed.exchange.rest import Rest
from barfeed.exchange.transport import open_transport, proxy_shown
from barfeed.machine.clock import Clock, ExchangeTime
from barfeed.operate import checks, host, status
from barfeed.operate.checks import Check
from barfeed.store.duckdb import Store, has_unique_key, read_whole, storage_version

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


def examine(patient: Patient, clock: Clock) -> list[Check]:
    """Every check in the order it is told; none of them is waited for longer than the limit."""
    end_sec = clock.steady_sec() + LIMIT_SEC
    time = _started(lambda: _ask_time(patient, clock))
    looks = {name: _started(look) for name, look in _looks(patient, clock, time).items()}
    told = []
    for name, look in looks.items():
        told += _told(name, look, max(0.0, end_sec - clock.steady_sec()))
    return told


def _looks(patient: Patient, clock: Clock, time: "Future[ExchangeTime]") -> dict[str, Look]:
    looks: dict[str, Look] = {
        "exchange": lambda: _exchange(patient, time),
        "proxy": lambda: [Check("proxy", "good", proxy_shown(patient.base_url) or "none in the environment")],
        "tls": lambda: [_reached("tls", patient.base_url)],
        "store": lambda: _store(patient, lambda: _now_ms(clock, time)),
        "last cycle": lambda: [_last_cycle(patient)],
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


def _ask_time(patient: Patient, clock: Clock) -> ExchangeTime:
    rest = Rest(patient.base_url, open_transport(patient.base_url, clock), clock)
    return rest.conversation(_ANSWER_SEC).ask_time()


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


def _reached(name: str, address: str) -> Check:
    if proxy := proxy_shown(address):
        seen = f"{address}: through the proxy {proxy}; not looked at"
        return Check(name, "note", seen, "the feed's own log tells when it cannot be reached there")
    try:
        return checks.certificate(name, address, certificate_until(address, _ANSWER_SEC))
    except (OSError, ValueError) as problem:
        return Check(name, "bad", f"{address}: {problem}", _UNREACHABLE)


def _store(patient: Patient, now_ms: Callable[[], int]) -> list[Check]:
    store, series = patient.store, patient.series
    if not store.exists():
        return [Check("store", "bad", f"{store.path} does not exist", f"start it: {patient.commands.catch_up}")]
    bars = status.look(store, [series])[series]
    with store.session(write=False) as connection:
        version, is_unique = storage_version(connection), has_unique_key(connection, series)
        if bars.coverage.rows:
            read_whole(connection, series)
    library = host.versions(["duckdb"])["duckdb"]
    seen = f"{store.path}, whole, a file of DuckDB {version.removeprefix('v')}, used with {library}"
    told = [Check("store", "good", seen)] if host.may_write(store.path) else [_read_only(store.path)]
    if bars.coverage.rows:
        told.append(checks.key(series.table, is_unique=is_unique))
    return [*told, _newest(patient, bars, now_ms()), _window(patient, bars)]


def _read_only(path: Path) -> Check:
    return Check("store", "bad", f"{path} may not be written by this user", "check its owner and mode")


def _newest(patient: Patient, bars: status.Bars, now_ms: int) -> Check:
    series, newest_ms = patient.series, bars.coverage.last_ms
    if trouble := status.behind(series, newest_ms, now_ms):
        target_ms = grid.last_closed(now_ms, series.interval.ms)
        is_ahead = newest_ms is not None and newest_ms > target_ms
        fix = why_ahead(newest_ms or 0, target_ms) if is_ahead else f"catch up: {patient.commands.catch_up}"
        return Check("newest bar", "bad", f"{series}: {trouble}", fix)
    return Check("newest bar", "good", f"{series}: {grid.text(newest_ms or 0)}, one of {bars.coverage.rows}")


def _window(patient: Patient, bars: status.Bars) -> Check:
    if trouble := status.window_gap(patient.series, bars, patient.window_bars):
        return Check("window", "bad", trouble, f"see the plan to fill it: {patient.commands.fill}")
    return Check("window", "good", f"no gap in the newest {patient.window_bars} bars")


def _last_cycle(patient: Patient) -> Check:
    last = status.runs_of(patient.persist_dir, patient.series).last
    if last is None:
        return Check("last cycle", "note", "none yet", f"run one: {patient.commands.catch_up}")
    if trouble := status.failed(last):
        return Check("last cycle", "bad", trouble, f"docs/operating.md tells what to do about {last.status}")
    return Check("last cycle", "good", f"{last.run_time} {last.status}")


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
    ran = status.runs_of(patient.persist_dir, patient.series)
    names = reading.as_written(Folder(ran.folder))[-_RUNS_WEIGHED:] if ran.last else []
    # A failed run leaves a fraction of a good one: after a night of nothing else, the last good one tells.
    names += [ran.inference.removesuffix(reading.inference_name(""))] if ran.inference else []
    run_bytes = max((host.size_bytes(ran.folder, f"{name}_") for name in names), default=None)
    day_bytes = None if run_bytes is None else run_bytes * _DAY_MS // patient.series.interval.ms
    return checks.room(host.free_bytes(host.nearest(patient.persist_dir)), day_bytes, patient.commands.prune)


def _extras(patient: Patient) -> list[Check]:
    return [
        checks.installed(name, host.versions(packages), wanted_by)
        for name, (packages, wanted_by) in patient.extras.items()
    ]

"""`barfeed replay`: the exchange put together from its flags, and served until it is stopped."""

import errno
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.machine.clock import SystemClock
from barfeed.replay.archive.service import Far, ReplayArchive, WithArchive
from barfeed.replay.clocks import ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import load_archive_faults
from barfeed.replay.faults.script import load_faults
from barfeed.replay.server import Answering, ReplayServer
from barfeed.replay.tapes.files import ALL
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.kinds import files
from barfeed.replay.tapes.made_up import market
from barfeed.replay.tapes.tape import Tape

# What is made up: more than an inference window behind the start, and as much to come ahead of it.
HOURS_AROUND_START = 1000
MADE_UP_START_MS = 1_707_573_480_000  # 2024-02-10 13:58, two minutes before a close

# Where the recorded bars leave the start open: this long before their last close.
BEFORE_LAST_CLOSE_MS = 60_000


def serve(
    *,
    data: Sequence[str],
    generated: Sequence[str],
    seed: int,
    start: datetime | None,
    speed: float,
    faults: Sequence[str],
    weight_limit: int,
    archive: bool,
    archive_data: Sequence[str],
    archive_faults: Sequence[str],
    latency_sec: float,
    host: str,
    port: int,
) -> None:
    """Serve until a signal raises; `UsageError` names the flag or file that cannot be used."""
    if not speed >= 0:
        raise UsageError(f"--speed {speed} is not in the range 0 to 100000")
    bars, further = files.parted(data)
    tapes = Tape.load(bars) if bars else []
    start_ms = _start_ms(start, tapes)
    tapes += [tape for text in generated for tape in _made_up(text, start_ms, seed)]
    if not tapes:
        raise UsageError("there is nothing to serve", hint="name bars with --data PATH, or --generate BTCUSDT-1h")
    clock = SystemClock()
    script = [fault for path in faults for fault in load_faults(path)]
    clock_ms = ReplayClock(start_ms, speed, clock).now_ms
    found = files.load(further)
    exchange = ReplayExchange(tapes, clock_ms, script, weight_limit, found)
    served: Answering = exchange
    if archive or archive_data or archive_faults:
        wrong = [fault for path in archive_faults for fault in load_archive_faults(path)]
        served = WithArchive(exchange, ReplayArchive(_archive_tapes(archive_data, tapes), clock_ms, wrong, found))
    if latency_sec:
        served = Far(served, latency_sec)
    with _listening(served, exchange, host, port) as server:
        _introduce(server, tapes, start_ms, speed)
        while True:
            clock.sleep(3600)


def _start_ms(start: datetime | None, tapes: Sequence[Tape]) -> int:
    if start is not None:
        return int(start.replace(tzinfo=UTC).timestamp() * 1000)
    ends = [grid.close_time(tape.open_times[-1], tape.series.interval.ms) + 1 for tape in tapes if len(tape)]
    return max(ends) - BEFORE_LAST_CLOSE_MS if ends else MADE_UP_START_MS


def _made_up(text: str, start_ms: int, seed: int) -> list[Tape]:
    symbol, _, interval = text.rpartition("-")
    try:
        series = Series.of(symbol, interval)
    except UsageError as problem:
        raise UsageError(f"--generate {text[:60]!r} is no series like BTCUSDT-1h: {problem}") from None
    if series.symbol == ALL:
        return market(series.interval, start_ms, seed)
    step_ms = series.interval.ms
    first_ms = grid.floor(start_ms - HOURS_AROUND_START * HOUR_MS, step_ms)
    return [generate(series.symbol, series.interval, first_ms, 2 * HOURS_AROUND_START * HOUR_MS // step_ms, seed)]


def _archive_tapes(data: Sequence[str], tapes: Sequence[Tape]) -> list[Tape]:
    """The archive's own bars, and the exchange's for every series of which it has none."""
    own = Tape.load(data) if data else []
    series = {tape.series for tape in own}
    return [*own, *(tape for tape in tapes if tape.series not in series)]


def _listening(served: Answering, exchange: ReplayExchange, host: str, port: int) -> ReplayServer:
    try:
        return ReplayServer(served, host, port, streams=exchange)
    except (OSError, UnicodeError, TypeError) as problem:
        # The latter two are names that cannot be written as a host's.
        taken = isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE
        said = getattr(problem, "strerror", None) or problem
        raise UsageError(
            f"--host {host[:120]} --port {port} cannot be listened on: {said}",
            hint="--port 0 takes a free one" if taken else "name an address of this machine, and a port you may use",
        ) from None


def _introduce(server: ReplayServer, tapes: Sequence[Tape], start_ms: int, speed: float) -> None:
    for tape in tapes:
        if not tape.contract:
            span = f"{grid.text(tape.open_times[0])}..{grid.text(tape.open_times[-1])}" if len(tape) else "empty"
            click.echo(f"{tape.series}: {len(tape)} bars, {span}")
    for interval in dict.fromkeys(tape.series.interval for tape in tapes if tape.contract):
        _introduce_market(interval, [tape for tape in tapes if tape.contract and tape.series.interval is interval])
    click.echo(f"It is {grid.timestamp(start_ms)} UTC, {speed:g} exchange seconds a second.")
    click.echo(f"Its kline streams are at {server.stream_url}")
    click.echo(f"barfeed replay listens on {server.url}")


def _introduce_market(interval: Interval, tapes: Sequence[Tape]) -> None:
    first, last = min(tape.open_times[0] for tape in tapes), max(tape.open_times[-1] for tape in tapes)
    bars = sum(map(len, tapes))
    click.echo(f"{ALL} {interval}: {len(tapes)} symbols, {bars} bars, {grid.text(first)}..{grid.text(last)}")

"""`barfeed replay`: the exchange put together from its flags, and served until it is stopped."""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from barfeed import grid
from barfeed.bars import HOUR_MS, Series
from barfeed.clock import SystemClock
from barfeed.errors import UsageError
from barfeed.replay.clocks import ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults import load_faults
from barfeed.replay.generator import generate
from barfeed.replay.server import ReplayServer
from barfeed.replay.tape import Tape

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
    host: str,
    port: int,
) -> None:
    """Serve until a signal raises; `UsageError` names the flag or file that cannot be used."""
    if not speed >= 0:
        raise UsageError(f"--speed {speed} is not in the range 0 to 100000")
    tapes = Tape.load(data) if data else []
    start_ms = _start_ms(start, tapes)
    tapes += [_made_up(text, start_ms, seed) for text in generated]
    if not tapes:
        raise UsageError("there is nothing to serve", hint="name bars with --data PATH, or --generate BTCUSDT-1h")
    clock = SystemClock()
    script = [fault for path in faults for fault in load_faults(path)]
    exchange = ReplayExchange(tapes, ReplayClock(start_ms, speed, clock).now_ms, script, weight_limit)
    with _listening(exchange, host, port) as server:
        _introduce(server, tapes, start_ms, speed)
        while True:
            clock.sleep(3600)


def _start_ms(start: datetime | None, tapes: Sequence[Tape]) -> int:
    if start is not None:
        return int(start.replace(tzinfo=UTC).timestamp() * 1000)
    ends = [grid.close_time(tape.open_times[-1], tape.series.interval.ms) + 1 for tape in tapes if len(tape)]
    return max(ends) - BEFORE_LAST_CLOSE_MS if ends else MADE_UP_START_MS


def _made_up(text: str, start_ms: int, seed: int) -> Tape:
    symbol, _, interval = text.rpartition("-")
    try:
        series = Series.of(symbol, interval)
    except UsageError as problem:
        raise UsageError(f"--generate {text[:60]!r} is no series like BTCUSDT-1h: {problem}") from None
    step_ms = series.interval.ms
    first_ms = grid.floor(start_ms - HOURS_AROUND_START * HOUR_MS, step_ms)
    return generate(series.symbol, series.interval, first_ms, 2 * HOURS_AROUND_START * HOUR_MS // step_ms, seed)


def _listening(exchange: ReplayExchange, host: str, port: int) -> ReplayServer:
    try:
        return ReplayServer(exchange, host, port)
    except OSError as problem:
        raise UsageError(
            f"--host {host} --port {port} cannot be listened on: {problem.strerror}", hint="--port 0 takes a free one"
        ) from None


def _introduce(server: ReplayServer, tapes: Sequence[Tape], start_ms: int, speed: float) -> None:
    for tape in tapes:
        span = f"{grid.text(tape.open_times[0])}..{grid.text(tape.open_times[-1])}" if len(tape) else "empty"
        click.echo(f"{tape.series}: {len(tape)} bars, {span}")
    click.echo(f"It is {grid.timestamp(start_ms)} UTC, {speed:g} exchange seconds a second.")
    click.echo(f"barfeed replay listens on {server.url}")

"""`barfeed run`: the hourly feed, once or for ever."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Iterator, Sequence, Set
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

from barfeed.cli.hints import examples, sister
from barfeed.cli.settings import SECRETS, Settings, settings_options
from barfeed.cli.terminal import complain, log_to_stderr, say
from barfeed.domain.errors import UsageError
from barfeed.machine.signals import Stopped, stop_on_signals

if TYPE_CHECKING:
    from barfeed.cli.market.audience import Audience
    from barfeed.domain.verdict import Remedies
    from barfeed.exchange.rest import Conversation, Rest
    from barfeed.exchange.steps import AskAll
    from barfeed.feed.market.order import Market
    from barfeed.feed.market.record import MarketRecord
    from barfeed.feed.market.watch import Streams
    from barfeed.feed.order import Feed
    from barfeed.feed.record import Record

# What only a watch has a use for, and why.
_WATCHS_OWN = {
    "listen": "one cycle ends before anybody asks; --metrics-file is for that",
    "stream": "a single cycle starts when it is called",
}

# What a pass over many series has no use for, and why.
_OF_ONE_SERIES = {
    "inference_source": "a window of the exchange's alone weighs five a series, not one: more than a market may ask"
    " in a minute",
}

EXIT_CODES = """\b
Exit codes:
  0   appended, or already up to date
  1   validation failed: mismatch or gap
  2   wrong usage or configuration
  3   the exchange could not be reached in time, or limits us
  4   the store or the artifact folder cannot be used
  5   the exchange refused, or broke its own contract
  70  a bug in barfeed
"""


@click.command(
    epilog=examples(
        "barfeed run --catch-up",
        "barfeed run --watch --catch-up",
        "barfeed run --catch-up --then 'python your_inference.py \"$BARFEED_INFERENCE_CSV\"'",
        "barfeed run --symbol ETHUSDT --dry-run --json",
    )
    + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@settings_options
def run(**values: Any) -> int:
    """Pull the newest closed bars, prove them against the store, append the newest, publish the CSV."""
    settings = Settings(**values)
    log_to_stderr(settings)
    if settings.symbols and _means_many(settings):
        return _market(settings)
    if settings.watch:
        return _watch(settings)
    return _once(_of_one_cycle(settings))


def _means_many(settings: Settings) -> bool:
    # Imported here: one series goes by without it.
    from barfeed.cli.market.choice import choice  # noqa: PLC0415

    return choice(settings) is not None


def _of_one_cycle(settings: Settings) -> Settings:
    """What is only for a watch is left alone in the environment and the file, which may serve both; no flag is."""
    context = click.get_current_context()
    for name, why in _WATCHS_OWN.items():
        if getattr(settings, name) and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name} is of no use without --watch: {why}", hint="add --watch")
    return dataclasses.replace(settings, listen="", stream=False)


def _once(settings: Settings) -> int:
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.wiring import (  # noqa: PLC0415
        audience,
        tell,
        wire,
    )
    from barfeed.feed.cycle import record_of, run_cycle  # noqa: PLC0415

    feed, order, rest = wire(settings, _remedies())
    hearers = audience(settings, feed)
    talk = rest.conversation(settings.max_wait_sec)
    stop_on_signals()
    try:
        try:
            record = run_cycle(feed, order, talk)
        except Exception as bug:
            tell(hearers, record_of(bug, feed, order), talk)
            raise
        _say(settings, record, talk)
        if record.failure:
            complain(record.failure.message, record.failure.hint)
        for said in record.kinds.complaints if record.kinds else ():
            complain(*said)
        tell(hearers, record, talk)
        _retain(settings, feed, talk)
    except Stopped as stopped:
        return stopped.exit_code
    return record.exit_code


def _watch(settings: Settings) -> int:
    from barfeed.cli.wiring import audience, dismiss, tell, wire, wire_stream  # noqa: PLC0415  # noqa: PLC0415
    from barfeed.feed.watch import Pace, watch  # noqa: PLC0415

    feed, order, rest = wire(settings, _remedies())
    stream, listen = wire_stream(settings, feed.clock) if settings.stream else (None, None)
    hearers = audience(settings, feed, stream)
    pace = Pace(settings.sleep_sec, settings.max_wait_sec)

    def tell_all(record: "Record", talk: "Conversation") -> None:
        _say(settings, record, talk)
        tell(hearers, record, talk)
        _retain(settings, feed, talk)

    stop_on_signals()
    try:
        if stream:
            stream.start()
        watch(feed, order, rest, pace, tell_all, listen=listen)
    except Stopped:
        dismiss(hearers)
        return 0


def _market(settings: Settings) -> int:
    """A market: one pass over each of its intervals, or passes for ever."""
    _refuse_of_one_series(settings)
    settings = settings if settings.watch else _of_one_cycle(settings)
    # Imported here: one series goes by without it.
    from barfeed.cli.market.audience import Audience  # noqa: PLC0415
    from barfeed.cli.market.wiring import asking, wire_market, wire_streams  # noqa: PLC0415

    markets, rest = wire_market(settings, _remedies_of)
    stream, streams = wire_streams(settings, rest.clock) if settings.stream else (None, None)
    audience = Audience(settings, markets, stream)
    stop_on_signals()
    try:
        with asking(settings, rest) as ask:
            if settings.watch:
                _watch_market(settings, markets, rest, ask, audience=audience, streams=streams)
            return _pass_over(settings, markets, rest, ask, audience)
    except Stopped as stopped:
        if not settings.watch:
            return stopped.exit_code
        audience.dismiss()
        return 0


def _pass_over(
    settings: Settings, markets: "Sequence[Market]", rest: "Rest", ask: "AskAll", audience: "Audience"
) -> int:
    """One pass over each interval of a market; the worst of them is the exit code."""
    from barfeed.domain.market.telling import rank  # noqa: PLC0415 - as in _market
    from barfeed.feed.market.one_pass import record_of, run_pass  # noqa: PLC0415 - as in _market

    talk = rest.conversation(settings.max_wait_sec)
    exit_codes = []
    for each in markets:
        try:
            record = run_pass(*each, talk, ask)
        except Exception as bug:
            audience.tell(each, record_of(bug, *each), talk)
            raise
        _say(settings, record, talk)
        _complain_of(record)
        audience.tell(each, record, talk)
        _retain(settings, each.feed, talk)
        exit_codes.append(record.exit_code)
    return min(exit_codes, key=rank)


def _watch_market(
    settings: Settings,
    markets: "Sequence[Market]",
    rest: "Rest",
    ask: "AskAll",
    *,
    audience: "Audience",
    streams: "Streams | None",
) -> NoReturn:
    """Passes over each interval of a market, for ever."""
    from barfeed.feed.market.watch import watch_market  # noqa: PLC0415 - as in _market
    from barfeed.feed.watch import Pace  # noqa: PLC0415 - as in _market

    def tell_all(market: "Market", record: "MarketRecord", talk: "Conversation") -> None:
        _say(settings, record, talk)
        audience.tell(market, record, talk)
        _retain(settings, market.feed, talk)

    pace = Pace(settings.sleep_sec, settings.max_wait_sec)
    watch_market(markets, rest, ask, pace, tell_all, streams=streams)


def _refuse_of_one_series(settings: Settings) -> None:
    """Return unless something is set that only one series has a use for."""
    defaults = Settings()
    for name, why in _OF_ONE_SERIES.items():
        if getattr(settings, name) != getattr(defaults, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} does not go with --symbols: {why}", hint="leave one of the two out")


def _complain_of(record: "MarketRecord") -> None:
    """Every series that failed, worst first."""
    for message, hint in record.complaints:
        complain(message, hint)


def _say(settings: Settings, record: "Record | MarketRecord", talk: "Conversation") -> None:
    if settings.json:
        manifest = record.manifest(talk) | {"manifest": record.manifest_path}
        say(json.dumps(manifest))
    else:
        say(record.line())


def _retain(settings: Settings, feed: "Feed", talk: "Conversation") -> None:
    if settings.retain_days and talk.time and not settings.dry_run:
        # Imported only here: most feeds keep everything.
        from barfeed.artifacts.retention import retain  # noqa: PLC0415

        retain(feed.folder, talk.now_ms, settings.retain_days)


def _remedies() -> "Remedies":
    from barfeed.domain.verdict import Remedies  # noqa: PLC0415

    return Remedies(_catch_up_command(), sister("repair"), sister("backfill"))


def _remedies_of(symbol: str) -> "Remedies":
    """What helps one symbol of a market."""
    from barfeed.domain.verdict import Remedies  # noqa: PLC0415

    of_symbol = ["--symbol", symbol] if symbol else []
    return Remedies(_catch_up_command(), sister("repair", *of_symbol), sister("backfill", *of_symbol))


def _catch_up_command() -> str:
    """The command that is running, as a single cycle with the flag that mends missed hours."""
    words = _without(sys.argv[1:], {"watch", "dry_run", "stream"}, SECRETS | {"listen", "stream_url"})
    settings, source = click.get_current_context().params, click.get_current_context().get_parameter_source("watch")
    # A watch by the environment or the file stays one until it is told otherwise.
    once = ["--once"] if settings["watch"] and source is not ParameterSource.COMMANDLINE else []
    return shlex.join([*_program(), *words, *once, "--catch-up"])


def _without(words: list[str], switches: Set[str], valued: Set[str]) -> Iterator[str]:
    """The words of a command line without some flags, and without the values of those that have one."""
    dropped = {f"--{name.replace('_', '-')}" for name in valued}
    bare = {f"--{name.replace('_', '-')}" for name in switches}
    rest = iter(words)
    for word in rest:
        if word in dropped:
            next(rest, None)
        elif word not in bare and word.partition("=")[0] not in dropped:
            yield word


def _program() -> list[str]:
    """How this very program can be called again."""
    if sys.argv[0].endswith("__main__.py"):
        return [sys.executable, "-m", "barfeed"]
    return [sys.executable, sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]

"""Which series a command is about: one, or many, at one interval or several."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from barfeed.cli.settings import Settings
from barfeed.cli.terminal import complain
from barfeed.domain.bars import Interval
from barfeed.domain.errors import BarfeedError, UsageError

if TYPE_CHECKING:
    from barfeed.domain.market.selection import Selection

_ONE_FOR_MANY = {"symbols": "symbol", "intervals": "interval"}


class Choice(NamedTuple):
    """Which symbols are meant, and at which intervals."""

    selection: "Selection"
    intervals: tuple[Interval, ...]


def choice(settings: Settings) -> Choice | None:
    """The series of a market that are meant; None where it is one series.

    Raises `UsageError` for a wrong setting.
    """
    if not settings.symbols or _is_outweighed("symbols"):
        return None
    # Imported here: most commands are about one series.
    from barfeed.domain.market.selection import Selection  # noqa: PLC0415

    return Choice(Selection.of(settings.symbols), intervals(settings))


def intervals(settings: Settings) -> tuple[Interval, ...]:
    """Each interval once; `UsageError` for one that is none, or that another setting does not fit."""
    many = "" if _is_outweighed("intervals") else settings.intervals
    texts = [text.strip() for text in (many or settings.interval).split(",") if text.strip()]
    if not texts:
        raise UsageError(f"--intervals {settings.intervals[:60]!r} names no interval", hint="as 1h,4h")
    return tuple(dataclasses.replace(settings, interval=each).series().interval for each in dict.fromkeys(texts))


def label(settings: Settings, interval: Interval) -> str:
    """The label whose slug names the artifact folder of a market at one interval."""
    # Several intervals under one label are told apart by theirs.
    return f"{settings.dataset}, {interval}" if settings.dataset else f"BINANCE.P, {interval}"


def folder(settings: Settings, interval: Interval) -> Path:
    """The artifact folder of a market at one interval."""
    # Imported here: it takes as long as all that --help needs.
    from barfeed.artifacts.writing import slug  # noqa: PLC0415

    return settings.persist_dir / slug(label(settings, interval))


def _is_outweighed(many: str) -> bool:
    """Whether a `--symbol` that is typed meets a `symbols` of the environment or the file: a hint is typed so."""
    source = click.get_current_context().get_parameter_source
    is_typed, is_one_typed = (source(name) is ParameterSource.COMMANDLINE for name in (many, _ONE_FOR_MANY[many]))
    if is_typed and is_one_typed and many == "symbols":
        raise UsageError("--symbol does not go with --symbols", hint="leave one of the two out")
    return is_one_typed and not is_typed


def each_interval(many: Choice, do: Callable[[Interval], int]) -> int:
    """The worst exit code of what is done at each interval; why one came to nothing is told, and the others go on."""
    from barfeed.domain.market.telling import rank  # noqa: PLC0415 - as above

    exit_codes = []
    for interval in many.intervals:
        try:
            exit_codes.append(do(interval))
        except BarfeedError as problem:
            complain(str(problem), problem.hint)
            exit_codes.append(problem.exit_code)
    return min(exit_codes, key=rank)

"""Which kinds of series stand beside the bars in a file: `--wide` and `--kinds`."""

import click
from click.core import ParameterSource

from barfeed.domain.bars import Interval
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import kinds


def beside(text: str, interval: Interval, *, wide: bool) -> tuple[Kind, ...] | None:
    """The kinds that `--kinds` names, none of them for all that are stored; None where the bars are meant alone."""
    if wide:
        return kinds(text, (interval,))
    # What the feed's own settings name is of no concern here.
    if click.get_current_context().get_parameter_source("kinds") is ParameterSource.COMMANDLINE:
        raise UsageError("--kinds goes with --wide", hint="add --wide, or leave --kinds out for the bars alone")
    return None

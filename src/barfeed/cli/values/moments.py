"""Moments on the command line: UTC, to the millisecond, in the forms that people and our own files write."""

from typing import Any

import click

from barfeed.domain.errors import UsageError
from barfeed.history.reading.moments import ms_of


class Moment(click.ParamType[int]):
    """`2024-01-15`, `2024-01-15 13:00` or `2024-01-15T13:00:00Z`, as ms since 1970-01-01 UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment in ms; anything else is wrong usage."""
        if isinstance(value, int):
            return value
        try:
            return ms_of(str(value))
        except UsageError as problem:
            raise click.BadParameter(str(problem), ctx=ctx, param=param) from None


MOMENT = Moment()

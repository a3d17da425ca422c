"""Moments on the command line: UTC, to the millisecond, in the forms that people and our own files write."""

import calendar
from datetime import datetime
from typing import Any

import click

_DAY = "%Y-%m-%d"
_FORMS = (_DAY, *(f"{_DAY}{gap}{clock}" for gap in " T" for clock in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")))


class Moment(click.ParamType[int]):
    """`2024-01-15`, `2024-01-15 13:00` or `2024-01-15T13:00:00Z`, as ms since 1970-01-01 UTC."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The moment in ms; anything else is wrong usage."""
        if isinstance(value, int):
            return value
        for form in _FORMS:
            try:
                read = datetime.strptime(str(value).removesuffix("Z"), form)  # noqa: DTZ007 - it is UTC, as told
            except ValueError:
                continue
            return calendar.timegm(read.timetuple()) * 1000 + read.microsecond // 1000
        raise click.BadParameter(
            f"{str(value)[:40]!r} is no moment like 2024-01-15 or '2024-01-15 13:00' (UTC)", ctx=ctx, param=param
        )


MOMENT = Moment()

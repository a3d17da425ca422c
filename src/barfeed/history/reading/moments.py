"""Moments as people write them, or as Python's own values: UTC, to the millisecond."""

import calendar
from datetime import UTC, date, datetime

from barfeed.domain.errors import UsageError

# A text in one of these forms, or what has a calendar's date: pandas' Timestamp is a datetime, too.
Moment = str | date

_DAY = "%Y-%m-%d"
_FORMS = (_DAY, *(f"{_DAY}{gap}{clock}" for gap in " T" for clock in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")))


def ms_of(moment: Moment) -> int:
    """`2024-01-15`, `2024-01-15 13:00`, `2024-01-15T13:00:00Z` or a date, as ms since 1970-01-01 UTC.

    A datetime without a zone is taken as UTC. Raises `UsageError`.
    """
    if isinstance(moment, str):
        return _ms(_read(moment))
    if isinstance(moment, datetime):
        return _ms(moment.astimezone(UTC) if moment.tzinfo else moment)
    if isinstance(moment, date):
        return calendar.timegm(moment.timetuple()) * 1000
    raise _no_moment(moment)


def _read(text: str) -> datetime:
    for form in _FORMS:
        try:
            return datetime.strptime(text.removesuffix("Z"), form)  # noqa: DTZ007 - it is UTC, as told
        except ValueError:
            continue
    raise _no_moment(text)


def _ms(moment: datetime) -> int:
    return calendar.timegm(moment.timetuple()) * 1000 + moment.microsecond // 1000


def _no_moment(given: object) -> UsageError:
    return UsageError(f"{str(given)[:40]!r} is no moment like 2024-01-15 or '2024-01-15 13:00' (UTC)")

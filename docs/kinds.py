"""Prints docs/kinds.md from the table of kinds itself: `make docs`."""

# ruff: noqa: E501 - what is known of a kind is prose, a paragraph a line

import sys
from typing import NamedTuple

from barfeed.domain.bars import MINUTE_MS, Interval
from barfeed.domain.kinds.kind import Archived, Kind, Limit, Stamp
from barfeed.domain.kinds.table import KINDS

_INTRO = """\
# Kinds of series

Written by `make docs` from `src/barfeed/domain/kinds/table.py`; `make test` tells when it is out of date.

A series is not only bars. Each other kind that the exchange has is one row of a table, and what asks for it, checks
it, stores it, plays it and proves it is made from that row.

## What a row means in time

| column | |
|---|---|
| `symbol` | as the exchange lists it |
| `timestamp` | the start of its period, UTC, as for bars; of `funding`, which has none, the moment of its settlement |
| `known_at` | the first moment at which a feed could have had it, UTC by the exchange's clock |
| `created_at` | when it was stored |

Who joins kinds for a model joins by `known_at`, never by `timestamp`: `open_interest_1h` of 13:00 is what was open at 14:00.

- It is the end of the row's period and the time that the exchange takes to publish it, by the table below: nothing for what
  can be had as soon as its period closes, as klines can. Where that time is not documented, it is told as late as is honest.
- What was due and a pass ended without, because the exchange was late, or could not be asked, is known from when a later
  pass had it: no model could have been given it before.
- So `backfill` tells the earliest honest bound, and whether a row was there in time is in `known_at` only of what was fed."""

_TRAP = """\
## The changed label of `metrics`

The archive's `metrics` are rows of five minutes for five kinds at once. Up to the file of 2026-06-24 a label is the **end**
of its five minutes: the file runs from 00:05 to 00:00 of the next day. From the file of 2026-06-25 on it is their
**start**: the file runs from 00:00 to 23:55. Nobody announced it. Both of these files hold the label 2026-06-25 00:00, and
mean two different rows by it: so a label is read by the file it stands in, `timestamp` is the start of the five minutes
on both sides, and each file has the 288 rows of its own day. Who joins by label alone sees five minutes ahead since then.

REST went on as before: of 2026-10-01 a label of the archive was seen to be five minutes before the label of REST with the
same value. A series of a longer period than five minutes takes what is open, or how accounts stand, from the five minutes
that its period ends with. What takers traded in an hour is no sum of ratios: the archive has it at 5m only."""


class Notes(NamedTuple):
    """What is known of a kind, and how."""

    documented: str
    seen: str
    unknown: str


_OHLC = Notes(
    "Weight by `limit`, 500 rows without one, 1500 at most; columns of volumes are to be ignored.",
    "Those columns are `0`. Klines weigh 1 up to a limit of 100, inclusive, where the documents exclude it.",
    "Whether a closed row is ever changed; whether these weigh as measured of `klines`.",
)
_DATA = Notes(
    "Weight 0, 1000 requests in 5 minutes by address; 30 rows without a limit, 500 at most; the latest 30 days; without times the"
    " newest rows. The time is called the end of the period.",
    "Times are whole periods. Rows come some minutes after their period. A `startTime` of 35 days before is refused with -1130, one of"
    " 30 is answered; of more rows than fit the newest come. Of 2026-03 the open interest of a row is worth the price of its time.",
    "How many minutes at most; whether the five of `/futures/data` share their limit (they are counted as if they did);"
    " whether a row is ever changed; where the five minutes of the limit begin.",
)
_NOTES = {
    "klines": Notes(
        "Twelve fields a row, the last to be ignored; both takers' volumes are of those who bought.",
        "As of [bars](contracts.md): nothing traded is a row of zeros, and the closed row is rarely changed.",
        "Why a closed row is changed months later.",
    ),
    "mark_price": _OHLC._replace(
        seen=f"{_OHLC.seen} In the archive 03:40 to 04:00 of 2023-11-10 is absent at 5m under a valid checksum."
    ),
    "index_price": _OHLC._replace(documented=f"It is asked for by `pair`, not by `symbol`. {_OHLC.documented}"),
    "premium_index": _OHLC._replace(
        seen=f"{_OHLC.seen} Values are below zero as often as above. In the archive 2021-01-24 to 2021-02-21 is absent of BTCUSDT."
    ),
    "funding": Notes(
        "500 requests in 5 minutes, shared with `/fapi/v1/fundingInfo`; 100 rows without a limit, 1000 at most; a symbol is not"
        " mandatory; without times the newest 200 rows; ascending.",
        "Of 107,311 rows of 2026 all are at a whole hour or up to some tens of ms after it; the rate was within 2 %. 79,260 steps were"
        " of 4 h, 25,298 of 8 h, 2,198 of 1 h, and symbols change theirs. `startTime=0` is not heeded.",
        "When within the hour a settled rate can be asked for (a minute is taken); since when rows have a `markPrice`.",
    ),
    "open_interest": _DATA._replace(
        seen=f"{_DATA.seen} Since 2025 a row has `CMCCirculatingSupply` too, which is another source's and not kept. The archive"
        " has zeros on 2022-03-07 and 2022-03-08, days that end at noon, whole days without a file, doubled rows.",
    ),
    "long_short_ratio": _DATA._replace(seen=f"{_DATA.seen} Shares have four decimals and may be 0.9999 or 1.0001 together."),
    "top_long_short_accounts": _DATA._replace(documented=f"Of the 20 % with the largest margin. {_DATA.documented}"),
    "top_long_short_positions": _DATA._replace(
        documented=f"Of the 20 % with the largest margin; its fields are called accounts' all the same. {_DATA.documented}"
    ),
    "taker_volume": _DATA._replace(seen=f"{_DATA.seen} Rows name no symbol."),
    "spot_klines": Notes(
        "Weight 2 whatever the limit, of 6000 a minute on a host of its own; 500 rows without a limit, 1000 at most.",
        "Many contracts have no spot market of their name. While trading is suspended there is no row. Files of the archive tell"
        " microseconds since 2025-01-01.",
        "What is answered in the first seconds after a close.",
    ),
}  # fmt: skip


def page() -> str:
    """The whole page."""
    overview = [
        "| kind | is | asked of | counts against | rows |",
        "|---|---|---|---|---:|",
        *map(_row, KINDS.values()),
    ]
    return "\n\n".join([_INTRO, "## The kinds", "\n".join(overview), *map(_section, KINDS.values()), _TRAP]) + "\n"


def _row(kind: Kind) -> str:
    cells = (f"[`{kind.name}`](#{kind.name})", kind.says, f"`{kind.path}`", _limit(kind.limit), str(kind.rows_max))
    return f"| {' | '.join(cells)} |"


def _limit(limit: Limit) -> str:
    return f"{limit.most} {'weight' if limit.is_weight else 'requests'} in {_minutes(limit.span_ms)}"


def _minutes(ms: int) -> str:
    return f"{ms // MINUTE_MS} min"


def _section(kind: Kind) -> str:
    notes = _NOTES[kind.name]
    columns = ["| column | unit | on the wire | in the archive |", "|---|---|---|---|"]
    columns += [
        f"| `{each.name}` | {each.unit} | {_field(each.field)} | {f'`{each.archived}`' if each.archived else ''} |"
        for each in kind.columns
    ]
    facts = [
        f"- table `{kind.table(Interval.ONE_HOUR)}`, of one series the view `{kind.view('BTCUSDT', Interval.ONE_HOUR)}`",
        f"- asked at {kind.host.value} by {', '.join(f'`{each}`' for each in (kind.parameter, kind.length) if each)}",
        f"- the wire's time is the {_stamp(kind.stamp)}; known {_known(kind)}",
        f"- the exchange keeps it {_kept(kind)}; archive: {_archive(kind.archived)}",
        f"- refused: {_rules(kind.refused)}; warned of: {_rules(kind.warned)}",
        f"- documented: {notes.documented}",
        f"- seen: {notes.seen}",
        f"- not known: {notes.unknown}",
    ]
    return "\n\n".join([f"### {kind.name}", "\n".join(columns), "\n".join(facts)])


def _field(field: str | int) -> str:
    return f"`{field}`" if isinstance(field, str) else f"field {field}"


def _stamp(stamp: Stamp) -> str:
    return "moment itself" if stamp is Stamp.MOMENT else f"{stamp.value} of its period"


def _known(kind: Kind) -> str:
    return f"{_minutes(kind.published_ms)} after {'it' if kind.stamp is Stamp.MOMENT else 'its period'}" if (
        kind.published_ms
    ) else "at its close"  # fmt: skip


def _kept(kind: Kind) -> str:
    return "for ever" if kind.remembered_ms is None else f"{kind.remembered_ms // (24 * 60 * MINUTE_MS)} days"


def _archive(archived: Archived) -> str:
    parts = [name for name, is_there in (("monthly", archived.has_months), ("daily", archived.has_days)) if is_there]
    period = f", of {archived.period} only" if archived.period else ""
    return f"`{archived.market}/{{{','.join(parts)}}}/{archived.folder}`{period}"


def _rules(rules: object) -> str:
    names = list(rules) if isinstance(rules, dict) else []
    return ", ".join(f"`{each}`" for each in names) or "nothing of its own"


if __name__ == "__main__":
    sys.stdout.write(page())

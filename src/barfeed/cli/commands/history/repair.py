"""`barfeed repair`: gaps and mismatches inside the history, mended after a look and a yes."""

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.moments import MOMENT
from barfeed.domain import grid
from barfeed.domain.acceptance import values
from barfeed.domain.errors import StoreEmpty, Unrepaired, UsageError

if TYPE_CHECKING:
    from barfeed.domain.bars import Series
    from barfeed.history.mending.let_pass import Seen
    from barfeed.history.mending.repair import Mended, Repair, Survey

KINDS = {"gaps": ("missing", "absent"), "mismatches": ("mismatch", "unknown")}
EXIT_CODES = """\b
Exit codes:
  0   nothing differs, or all that did is mended
  1   something was left as it is; with --dry-run: something differs
  2   wrong usage, or nobody to ask and no --yes
  3   the exchange could not be reached in time, or limits us
  4   the store cannot be used
  5   the exchange refused, or broke its own contract
  70  a bug in barfeed
"""


@click.command(
    epilog=examples(
        "barfeed repair --dry-run",
        "barfeed repair --only gaps --yes",
        "barfeed repair --from 2024-01-01 --to '2024-01-02 12:00'",
        "barfeed repair --let-pass '2024-01-02 12:00'",
        "barfeed repair --symbols all --only gaps --dry-run",
        "barfeed repair --kinds mark_price,open_interest --dry-run",
    )
    + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--from", "from_ms", type=MOMENT, help="First bar to look at.  [default: the window the feed looks at]")
@click.option("--to", "to_ms", type=MOMENT, help="End of what to look at, itself left out.  [default: the newest bar]")
@click.option("--only", type=click.Choice(tuple(KINDS)), help="Leave the others alone.")
@click.option(
    "--let-pass",
    "let_pass_ms",
    type=MOMENT,
    help="Let the bar that opens then pass as the exchange has it, though its own columns contradict each other.",
)
@click.option("--kinds", "of_kinds", default="", help="Mend rows of these kinds of series instead of bars.")
@click.option("--reason", default="repair", show_default=True, help="Why, for the audit table.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@click.option("--dry-run", is_flag=True, help="Show the plan and change nothing.")
@options_of(
    "duckdb", "store", "symbol", "interval", "intervals", "weight_budget", "n_recent", "buffer_hours", "base_url",
    "max_wait_sec", "lock_timeout_sec", "pause_sec", "debug", "spot_url",
    symbols="Mend many series: all that the store holds, or names and patterns of them.",
    persist_dir="With --store: where servers.json tells which server it was.",
    json="Print what was found and done as one line of JSON instead; needs --yes or --dry-run.",
)  # fmt: skip
def repair(
    *, from_ms: int | None, to_ms: int | None, only: str | None, let_pass_ms: int | None, of_kinds: str,
    reason: str, yes: bool, dry_run: bool, **options: Any,
) -> int:  # fmt: skip
    """Fill gaps and mend mismatches inside the stored history, after showing each bar.

    A missing bar is filled with the exchange's; a stored bar that differs is changed only when the exchange says
    the same twice, and both versions are kept: see `barfeed revisions`. What the exchange itself lacks is told and
    left. Before the first stored bar there is nothing to repair: see `barfeed backfill`.

    With --let-pass one closed bar is looked at instead, whose volume, quote volume, trades and prices do not go
    together: every hour that pulls it is refused until the exchange mends it, or you let it pass. That is noted beside
    the revisions. A price of zero is never let pass.
    """
    settings = Settings(**options)
    log_to_stderr(settings)
    _refuse_nobody_to_ask(settings, yes=yes, dry_run=dry_run)
    many = choice(settings)
    if of_kinds:
        if only or let_pass_ms is not None:
            raise UsageError("--only and --let-pass are about bars: they do not go with --kinds")
        from barfeed.cli.kinds.repair import Asked, repair_kinds  # noqa: PLC0415 - as below

        check_span(from_ms, to_ms)
        return repair_kinds(settings, of_kinds, many, Asked(from_ms, to_ms, reason, is_sure=yes, dry_run=dry_run))
    if many:
        if let_pass_ms is not None:
            raise UsageError("--let-pass is about one bar of one series: it goes with --symbol, not with --symbols")
        from barfeed.cli.market.repair import Asked as OfMarket  # noqa: PLC0415
        from barfeed.cli.market.repair import repair_market  # noqa: PLC0415

        return repair_market(settings, many, OfMarket(from_ms, to_ms, only, reason, is_sure=yes, dry_run=dry_run))
    if let_pass_ms is not None:
        if from_ms is not None or to_ms is not None or only:
            raise UsageError("--let-pass is about one bar: it goes without --from, --to and --only")
        return _let_pass(settings, let_pass_ms, reason, yes=yes, dry_run=dry_run)
    work, series, found = _look(settings, from_ms, to_ms, only, dry_run=dry_run)
    if not settings.json:
        say(*plan(series, found))
    if dry_run or not found.differences:
        return _tell_found(settings, series, found)
    if not (yes or not found.of_kind("missing", "mismatch") or _says_yes(found)):
        raise Unrepaired(f"{series}: nothing was repaired: that was no yes", hint="run it again, or with --yes")
    done = work.apply(found, work.confirmed(found, settings.pause_sec), reason)
    return _tell_done(settings, series, found, done)


def _let_pass(settings: Settings, open_time_ms: int, reason: str, *, yes: bool, dry_run: bool) -> int:
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.wiring import told_by_its_life, wire_let_pass  # noqa: PLC0415

    work, series = wire_let_pass(settings, dry_run=dry_run), settings.series()
    with told_by_its_life(settings, sister("backfill")):
        seen = work.look(open_time_ms)
    if not settings.json:
        say(*_row_text(series, seen))
    if dry_run or seen.noted or not seen.findings:
        return _tell_let_pass(settings, series, seen, is_noted=seen.noted is not None)
    if not (yes or is_yes("let it pass as it is, from now on?")):
        raise Unrepaired(f"{series}: the bar was not let pass: that was no yes", hint="run it again, or with --yes")
    if not work.says_it_again(seen, settings.pause_sec):
        raise Unrepaired(
            f"{series}: asked again, the exchange said something else of {grid.text(open_time_ms)}: not let pass",
            hint="run it again later: it may have mended the bar",
        )
    return _tell_let_pass(settings, series, work.note(seen, reason), is_noted=True)


def _row_text(series: "Series", seen: "Seen") -> list[str]:
    bar = grid.text(seen.bar.open_time_ms)
    if not seen.findings:
        return [f"{series}: {bar} breaks no rule: there is nothing to let pass"]
    told = values(seen.bar) | seen.turnover._asdict()
    return [
        f"{series}: {bar} contradicts itself",
        *(f"  {found.rule:<14}  {found.message}" for found in seen.findings),
        f"  {', '.join(f'{name} {value}' for name, value in told.items())}",
    ]


def _tell_let_pass(settings: Settings, series: "Series", seen: "Seen", *, is_noted: bool) -> int:
    if settings.json:
        say(json.dumps({
            "series": {"symbol": series.symbol, "interval": str(series.interval)},
            "run": seen.run,
            "bar": grid.text(seen.bar.open_time_ms),
            "exchange": values(seen.bar) | seen.turnover._asdict(),
            "findings": [{"rule": found.rule, "message": found.message} for found in seen.findings],
            "let_pass": is_noted,
            "since": seen.noted and grid.timestamp(seen.noted.accepted_at_ms),
        }))  # fmt: skip
    elif seen.noted:
        since, reason = grid.timestamp(seen.noted.accepted_at_ms), seen.noted.reason
        say(f"{series}: {grid.text(seen.bar.open_time_ms)} is let pass already, since {since}: {reason!r}")
    elif is_noted:
        say(f"let_pass={grid.text(seen.bar.open_time_ms)!r} rules={','.join(seen.rules)} run={seen.run!r}")
    return Unrepaired.exit_code if seen.findings and not is_noted else 0


def _refuse_nobody_to_ask(settings: Settings, *, yes: bool, dry_run: bool) -> None:
    if yes or dry_run:
        return
    if settings.json:
        raise UsageError("--json needs --yes or --dry-run: it leaves no room for a question")
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, and a repair wants a yes", hint="give it --yes or --dry-run")


def _look(
    settings: Settings, from_ms: int | None, to_ms: int | None, only: str | None, *, dry_run: bool
) -> "tuple[Repair, Series, Survey]":
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.wiring import told_by_its_life, wire_repair  # noqa: PLC0415
    from barfeed.history.mending.repair import Wanted  # noqa: PLC0415

    check_span(from_ms, to_ms)
    work, window_bars = wire_repair(settings, dry_run=dry_run)
    with told_by_its_life(settings, sister("backfill")):
        try:
            found = work.survey(Wanted(from_ms, to_ms, window_bars))
        except StoreEmpty as problem:
            raise StoreEmpty(str(problem), hint=f"start it: {sister('run', '--catch-up')}") from problem
    if only:
        found = found._replace(differences=found.of_kind(*KINDS[only]))
    work.expect(found)
    return work, settings.series(), found


def check_span(from_ms: int | None, to_ms: int | None) -> None:
    """Return for a span that can hold a bar; `UsageError` for one that ends before it begins."""
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise UsageError("--from must be before --to")


def plan(series: "Series", found: "Survey") -> list[str]:
    """What differs, bar by bar, and what is done about it."""
    if not found.opens:
        return [f"{series}: no stored bar lies there; nothing was compared"]
    span = f"{grid.text(found.opens[0])}..{grid.text(found.opens[-1])}"
    head = f"{series}: {len(found.opens)} bars compared, {span}: {len(found.differences)} to repair"
    return [head, *(f"  {each}" for each in found.differences)]


def _says_yes(found: "Survey") -> bool:
    fills, changes = len(found.of_kind("missing")), len(found.of_kind("mismatch"))
    return is_yes(f"fill {fills} and change {changes} stored bars?")


def is_yes(question: str) -> bool:
    """Whether a person types yes."""
    typed = click.prompt(f"{question} type yes", default="no", err=True)
    return str(typed).strip().lower() == "yes"


def _tell_found(settings: Settings, series: "Series", found: "Survey") -> int:
    if settings.json:
        say(json.dumps(facts(series, found)))
    return Unrepaired.exit_code if found.differences else 0


def _tell_done(settings: Settings, series: "Series", found: "Survey", done: "Mended") -> int:
    if settings.json:
        say(json.dumps(facts(series, found, done)))
    else:
        say(f"filled={len(done.filled)} revised={len(done.revised)} left={len(done.left)} run={found.run!r}")
    if done.left:
        raise Unrepaired(
            f"{series}: {len(done.left)} of {len(found.differences)} bars were left as they are; first: {done.left[0]}",
            hint=left_hint({each.kind for each in done.left}),
        )
    return 0


def left_hint(kinds: set[str]) -> str:
    """What there is to do about bars that were left as they are."""
    hints = {
        "mismatch": "where the exchange did not say the same twice, run it again later",
        "absent": "what the exchange has not got cannot be filled: nothing is made up",
        "unknown": "a stored bar that the exchange does not know is yours to take out",
    }
    return "; ".join(hint for kind, hint in hints.items() if kind in kinds)


def facts(series: "Series", found: "Survey", done: "Mended | None" = None) -> dict[str, Any]:
    """As JSON types."""
    left = {each.open_time_ms for each in done.left} if done else set()
    return {
        "series": {"symbol": series.symbol, "interval": str(series.interval)},
        "run": found.run,
        "compared": len(found.opens),
        "first": grid.text(found.opens[0]) if found.opens else None,
        "last": grid.text(found.opens[-1]) if found.opens else None,
        "filled": len(done.filled) if done else 0,
        "revised": len(done.revised) if done else 0,
        "bars": [
            {
                "bar": grid.text(each.open_time_ms),
                "kind": each.kind,
                "stored": each.stored and values(each.stored),
                "exchange": each.exchange and values(each.exchange),
                "mended": done is not None and each.open_time_ms not in left,
            }
            for each in found.differences
        ],
    }

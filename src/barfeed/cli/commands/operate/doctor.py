"""`barfeed doctor`: whether everything the feed stands on is as it should be."""

import json as json_text
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed import __version__
from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.addresses import check_address
from barfeed.cli.values.stores import meant_database
from barfeed.domain import grid
from barfeed.domain.errors import UsageError

if TYPE_CHECKING:
    from barfeed.operate.doctor.checks import Check
    from barfeed.operate.doctor.examination import Patient
    from barfeed.operate.doctor.market import Market

# Another process holds the store for milliseconds: who holds it longer is to be named.
_LOCK_SEC = 2.0
_EXTRAS = {
    "alerts": ("apprise",),
    "market": ("aiohttp",),
    "metrics": ("prometheus-client",),
    "feather": ("pyarrow",),
    "s3": ("obstore",),
    "postgres": ("numpy", "psycopg"),
    "inference": ("lightgbm", "matplotlib", "numpy"),
    "socks": ("aiohttp-socks", "PySocks", "python-socks"),
    "web": ("starlette", "uvicorn"),
}
_MARKS = {"good": "✓", "note": "·", "bad": "✗"}
_PLAIN_MARKS = {"good": "ok  ", "note": "note", "bad": "BAD "}


@click.command(
    epilog=examples("barfeed doctor", "barfeed doctor --json", "barfeed doctor --symbols all"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@options_of(
    "duckdb", "persist_dir", "buffer_hours", "symbol", "interval", "intervals", "base_url", "max_skew_sec", "stream",
    "stream_url", "alert", "metrics_file", "listen", "debug",
    store="Check a feed of a PostgreSQL database instead.",
    symbols="Check a feed of many series: all, or names and patterns.",
    json="Print everything as one line of JSON.",
)  # fmt: skip
def doctor(*, json: bool, **values: Any) -> int:
    """Check exchange, store, folders, scheduler and extras, each with its fix; exit 0 if all is well, 1 if not.

    Give it the flags, variables and file of the feed. It changes nothing and takes ten seconds at most.
    """
    settings = Settings(**values)
    log_to_stderr(settings)
    if not settings.debug:
        # Whatever is wrong is a line of its own.
        logging.getLogger("barfeed").setLevel(logging.ERROR)
    patient = _patient(settings)
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.operate.doctor.examination import examine  # noqa: PLC0415

    told = examine(patient, SystemClock())
    bad = sum(each.state == "bad" for each in told)
    if json:
        say(json_text.dumps(_facts(told)))
    else:
        say(*_lines(told), f"{bad} of {len(told)} checks failed" if bad else "all is well")
    return int(bad > 0)


def _patient(settings: Settings) -> "Patient":
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.operate.doctor.examination import Commands, Patient  # noqa: PLC0415
    from barfeed.store.duckdb import Store  # noqa: PLC0415

    series, database = settings.series(), meant_database(settings.store)
    if settings.stream:
        # A stream is at an address like any other, but for the scheme.
        check_address("--stream-url", settings.stream_url.replace("ws", "http", 1))
    return Patient(
        series=series,
        window_bars=grid.inference_bars(settings.buffer_hours, series.interval.ms),
        store=Store(settings.duckdb, SystemClock(), _LOCK_SEC),
        persist_dir=settings.persist_dir,
        made=[settings.persist_dir, *([] if database else [settings.duckdb.parent])],
        metrics_folder=settings.metrics_file.parent if settings.metrics_file else None,
        base_url=settings.base_url,
        stream_url=settings.stream_url if settings.stream else "",
        max_skew_sec=settings.max_skew_sec,
        extras={name: (packages, _wanting(settings).get(name, ())) for name, packages in _EXTRAS.items()},
        root=Path("/"),
        home=Path.home(),
        commands=Commands(
            catch_up=sister("run", "--catch-up"),
            fill=sister("repair", "--only", "gaps", "--dry-run"),
            backfill=sister("backfill"),
            prune=sister("prune", "--keep-days", "90"),
        ),
        market=_market(settings),
        database=database,
    )


def _market(settings: Settings) -> "Market | None":
    from barfeed.operate.doctor.market import Market  # noqa: PLC0415

    many = choice(settings)
    if many is None:
        return None
    catch_up, fill = sister("run", "--catch-up"), sister("repair", "--only", "gaps", "--dry-run")
    return Market(many.selection, many.intervals, settings.buffer_hours, catch_up, fill)


def _wanting(settings: Settings) -> dict[str, Sequence[str]]:
    """The flags given that need an extra, by extra."""
    metrics = {"--metrics-file": settings.metrics_file, "--listen": settings.listen}
    return {
        "alerts": ["--alert"] if settings.alert else [],
        "market": ["--symbols"] if choice(settings) else [],
        "postgres": ["--store"] if meant_database(settings.store) else [],
        "metrics": [flag for flag, value in metrics.items() if value],
        "socks": _socks_proxy(settings),
    }


def _socks_proxy(settings: Settings) -> list[str]:
    from barfeed.exchange.transport.proxies import proxy_shown  # noqa: PLC0415

    # One that is no address is told by the proxy's own line.
    with suppress(UsageError):
        proxy = proxy_shown(settings.base_url)
        return [f"the proxy {proxy}"] if proxy.startswith("socks") else []
    return []


def _lines(told: "Sequence[Check]") -> list[str]:
    encoding = sys.stdout.encoding or "ascii"
    marks = _MARKS if _can_show("".join(_MARKS.values()), encoding) else _PLAIN_MARKS
    width = max(len(each.name) for each in told)
    lines = [
        f"{marks[each.state]} {each.name:{width}}  {each.seen}" + (f"; {each.fix}" if each.fix else "") for each in told
    ]
    # A path or a foreign message may hold what this terminal cannot show, too.
    return [line.encode(encoding, "backslashreplace").decode(encoding) for line in lines]


def _can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _facts(told: "Sequence[Check]") -> dict[str, object]:
    return {
        "healthy": all(each.state != "bad" for each in told),
        "version": __version__,
        "checks": [each._asdict() for each in told],
    }

"""`barfeed web`: a page that shows whether the feed can be trusted today."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.paths import MeantPath
from barfeed.cli.values.stores import meant_database

if TYPE_CHECKING:
    from barfeed.operate.web.stores.looks import Held

# A look must not keep a page waiting long for another process at the store.
_WAIT_SEC = 3.0


@click.command(
    epilog=examples(
        "barfeed web",
        "barfeed web --listen 127.0.0.1:9000 --predictions data/predictions.duckdb",
        "barfeed web --store postgresql://model@db.example.org/market",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--listen", default="127.0.0.1:8787", show_default=True, help="Where to serve the page.")
@click.option("--token", default="", envvar="BARFEED_TOKEN", help="What a request must know; the address has it.")
@click.option("--proxy-header", default="", help="Header that a reverse proxy sets for those it lets in.")
@click.option(
    "--predictions",
    type=MeantPath(path_type=Path, readable=False),
    help="Predictions store to show, as lgbm_inference keeps it.",
)
@click.option(
    "--log",
    type=MeantPath(path_type=Path, readable=False),
    help="File that the feed's log goes to; its last line is shown.",
)
@options_of("duckdb", "persist_dir", "debug", store="Show a PostgreSQL database instead, and who feeds it.")
def web(listen: str, token: str, proxy_header: str, predictions: Path | None, log: Path | None, **values: Any) -> None:
    """Serve a page of the store and of the runs; it only reads, and holds the store for a query at most.

    On this machine only, unless --listen says otherwise; then --token or --proxy-header is demanded.
    """
    settings = Settings(**values)
    log_to_stderr(settings)
    from barfeed.domain.errors import UsageError  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.operate.metrics.server import address  # noqa: PLC0415
    from barfeed.operate.web.live import Live, Watched  # noqa: PLC0415
    from barfeed.operate.web.manifests import Manifests  # noqa: PLC0415
    from barfeed.operate.web.stores.looks import Looks  # noqa: PLC0415
    from barfeed.operate.web.views.sources import Sources  # noqa: PLC0415

    try:
        from barfeed.operate.web.server import Door, bound, server  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise UsageError(
            f"barfeed web needs a library that is not installed: {missing.name}", hint="pip install 'barfeed[web]'"
        ) from None
    clock = SystemClock()
    door = Door(address(listen), token, proxy_header)
    taken = bound(door)
    held = _held(settings)
    sources = Sources(Looks(held), Manifests(settings.persist_dir), clock, predictions, log)
    host, port = taken.getsockname()[:2]
    say(f"http://{f'[{host}]' if ':' in host else host}:{port}/{f'?token={token}' if token else ''}")
    server(sources, Live(Watched(settings.persist_dir, held, log)), door, taken).run(sockets=[taken])


def _held(settings: Settings) -> "Held":
    """The file, or the database where one is meant."""
    if address := meant_database(settings.store):
        from barfeed.cli.stores import needs_postgres  # noqa: PLC0415
        from barfeed.machine.clock import SystemClock  # noqa: PLC0415

        with needs_postgres():
            from barfeed.operate.web.stores.database import HeldDatabase  # noqa: PLC0415
        return HeldDatabase(address, SystemClock())
    from barfeed.operate.web.stores.file import HeldFile  # noqa: PLC0415

    return HeldFile(settings.duckdb, _WAIT_SEC)

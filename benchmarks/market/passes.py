"""barfeed's pass, lived on and on in one process, as a watch does.

python -m benchmarks.market.passes BASE_URL STORE FOLDER INTERVAL WINDOW_HOURS [LAKE]

STORE is a DuckDB file, or a database's address.
"""

import sys
from pathlib import Path

import click

from barfeed.cli.market.wiring import asking, wire_market
from barfeed.cli.settings import Settings
from barfeed.cli.values.paths import Lake
from barfeed.cli.values.stores import Database
from barfeed.domain.verdict import Remedies
from barfeed.feed.market.one_pass import run_pass
from barfeed.store.postgres.link.address import is_address
from benchmarks.market.rivals import live_on


class Passes:
    """What is kept from pass to pass: the connections, and the settings put together."""

    def __init__(self, settings: Settings) -> None:
        # What is typed outweighs what is not: here it is a command without words.
        with click.Context(click.Command("run")):
            (self._market,), self._rest = wire_market(settings, lambda _symbol: Remedies("barfeed run --catch-up"))
        self._asking = asking(settings, self._rest)
        self._ask = self._asking.__enter__()

    async def live(self) -> int:
        talk = self._rest.conversation(60.0)
        record = run_pass(*self._market, talk, self._ask)
        if record.exit_code or not record.inference:
            raise RuntimeError(record.line())
        return talk.used_weight or 0

    async def close(self) -> None:
        self._asking.__exit__(None, None, None)


if __name__ == "__main__":
    url, store, folder, interval, window_hours, *lake = sys.argv[1:]
    # The replayed hours are long past, and each pass would say so.
    live_on(
        Passes(
            Settings(
                symbols="all", interval=interval, base_url=url, persist_dir=Path(folder),
                **({"store": Database(store)} if is_address(store) else {"duckdb": Path(store)}),
                max_skew_sec=1e10, window_hours=int(window_hours), lake=Lake("".join(lake)),
            )
        )
    )  # fmt: skip

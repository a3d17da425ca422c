# ruff: noqa: PLC0415 - what needs the extra is imported where it is used: the extra may be absent
"""A made-up history, its CSV, and a small model trained on it."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from lgbm_inference.bars import Bars

# 2024-02-10 13:00 in whole hours since 1970.
TARGET_HOUR = 474_325


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def history() -> "Bars":
    """3,000 hours of a random walk up to 2024-02-10 13:00."""
    import numpy as np

    from lgbm_inference.bars import Bars

    random = np.random.default_rng(7)
    rows = 3000
    close = 40_000 * np.exp(np.cumsum(random.normal(0, 0.005, rows)))
    open_ = np.concatenate([[40_000], close[:-1]])
    high = np.maximum(open_, close) * (1 + random.uniform(0, 0.003, rows))
    low = np.minimum(open_, close) * (1 - random.uniform(0, 0.003, rows))
    values = np.column_stack([open_, high, low, close, random.uniform(100, 9000, rows)])
    return Bars(np.arange(TARGET_HOUR - rows + 1, TARGET_HOUR + 1), values)


@pytest.fixture
def write(tmp_path: Path) -> "Callable[[Bars], Path]":
    """Writes bars as the feed does."""
    from lgbm_inference.bars import timestamp

    def written(bars: "Bars") -> Path:
        rows = [
            ",".join([timestamp(hour), *map(repr, values)])
            for hour, values in zip(bars.hours.tolist(), bars.values.tolist(), strict=True)
        ]
        path = tmp_path / "latest_for_inference.csv"
        path.write_text("\n".join(["timestamp,open,high,low,close,volume", *rows, ""]))
        return path

    return written


@pytest.fixture(scope="session")
def model_root(history: "Bars", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run: a small model of the next 12 hours."""
    import duckdb

    from lgbm_inference.training import Order, train

    folder = tmp_path_factory.mktemp("trained")
    source = folder / "history.duckdb"
    with duckdb.connect(source) as connection:
        connection.execute(
            """CREATE TABLE ohlcv_btcusdt_1h AS
            SELECT make_timestamp_ms(hour * 3600000) AS timestamp, * EXCLUDE (hour) FROM
            (SELECT unnest(?::BIGINT[]) AS hour, unnest(?::DOUBLE[]) AS open, unnest(?::DOUBLE[]) AS high,
            unnest(?::DOUBLE[]) AS low, unnest(?::DOUBLE[]) AS close, unnest(?::DOUBLE[]) AS volume)""",
            [history.hours.tolist(), *history.values.T.tolist()],
        )
    order = Order(source, "ohlcv_btcusdt_1h", folder / "models", 12, 1, 60, ("1H", "4H", "12H", "1D"))
    train(order, datetime(2024, 2, 10, 14, tzinfo=UTC))
    return folder / "models"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Callable[..., Ran]":
    """Runs `infer` or `train` in this process as its script would."""
    from lgbm_inference import cli

    def run(name: str, *flags: Any) -> Ran:
        monkeypatch.setattr("sys.argv", [name, *map(str, flags)])
        with pytest.raises(SystemExit) as ended:
            cli.main(getattr(cli, name))
        said = capsys.readouterr()
        return Ran(int(ended.value.code or 0), said.out, said.err)

    return run

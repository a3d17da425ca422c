"""The command line: flags in, one line and one exit code out."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from lgbm_inference.errors import BUG_EXIT_CODE, CTRL_C_EXIT_CODE, InferenceError, UsageError

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# As lookbacks.TIMEFRAMES, which a test holds: NumPy takes longer to import than --help may take.
_TIMEFRAMES = ("1H", "4H", "12H", "1D")
_DATASET_CHARS_MAX = 100
_FILE = click.Path(path_type=Path)
_EXIT_CODES = """\b
Exit codes:
  0   done, or already predicted
  1   the bars cannot be used
  2   wrong usage, a file that is none of these, or a model that does not fit
  4   the predictions store or a folder cannot be used
  70  a bug in lgbm_inference
"""


class _Spaced(click.Command):
    """Lets `--timeframes 1H 4H` mean `--timeframes 1H --timeframes 4H`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _spread(args))


def _spread(args: Sequence[str]) -> list[str]:
    spread: list[str] = []
    for word in args:
        # Only a second one: the first follows its flag anyway.
        if spread[-2:-1] == ["--timeframes"] and not word.startswith("-"):
            spread.append("--timeframes")
        spread.append(word)
    return spread


_timeframes = click.option(
    "--timeframes",
    multiple=True,
    type=click.Choice(_TIMEFRAMES),
    default=_TIMEFRAMES,
    show_default="1H 4H 12H 1D",
    metavar="TIMEFRAME...",
    help="Which of 1H 4H 12H 1D the features come from.",
)
_beside = click.option(
    "--beside",
    default="",
    metavar="COLUMNS",
    help="Columns of a wide table that are features as they are: a,b,c.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead.")


@click.group(context_settings=_SETTINGS)
def lgbm_inference() -> None:
    """Train a LightGBM model on hourly bars, and ask it for a prediction an hour."""


@lgbm_inference.command(cls=_Spaced, epilog=_EXIT_CODES, context_settings=_SETTINGS)
@click.option("--input-csv", type=_FILE, required=True, help="Hourly bars, as latest_for_inference.csv has them.")
@click.option("--dataset", default="BINANCE_BTCUSDT.P, 60", show_default=True, help="Label of what is predicted.")
@click.option("--model-path", type=_FILE, help="A run folder, or a model.txt.")
@click.option("--model-root", type=_FILE, help="A folder of runs: the newest run_*/model.txt.")
@click.option(
    "--duckdb", type=_FILE, default=Path("data/predictions.duckdb"), show_default=True, help="The predictions store."
)
@click.option("--debug-dir", type=_FILE, help="Folder for the features and the prediction as CSVs.")
@click.option("--buffer-hours", type=click.IntRange(0, 8760), default=6, show_default=True, help="Hours on top of 720.")
@_timeframes
@_beside
@_as_json
def infer(
    model_path: Path | None,
    model_root: Path | None,
    timeframes: Sequence[str],
    beside: str,
    as_json: bool,
    **values: Any,
) -> None:
    """Predict for the last bar of a CSV and keep it, once for each model and bar."""
    from lgbm_inference.inference import Order, infer  # noqa: PLC0415
    from lgbm_inference.model import model_file  # noqa: PLC0415

    _check_dataset(values["dataset"])
    model = model_file(model_path, model_root)
    order = Order(model_file=model, timeframes=_ordered(timeframes), beside=_names(beside), **values)
    outcome = infer(order, datetime.now(UTC))
    click.echo(json.dumps(outcome.report()) if as_json else outcome.line())
    if difference := outcome.difference():
        click.echo(f"lgbm_inference: warning: {difference}", err=True)


@lgbm_inference.command(cls=_Spaced, epilog=_EXIT_CODES, context_settings=_SETTINGS)
@click.option("--source", type=_FILE, required=True, help="History: a CSV, a parquet file, or a DuckDB store.")
@click.option("--table", default="ohlcv_btcusdt_1h", show_default=True, help="The store's table.")
@click.option(
    "--model-root", type=_FILE, default=Path("data/models"), show_default=True, help="Where the run folder is made."
)
@click.option(
    "--horizon-hours", type=click.IntRange(1, 8760), default=168, show_default=True, help="How far ahead to predict."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True, help="Of every random choice.")
@click.option("--rounds", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="Trees at most.")
@_timeframes
@_beside
@_as_json
def train(timeframes: Sequence[str], beside: str, as_json: bool, **values: Any) -> None:
    """Train on a history, and say how the model does beside predicting zero and the mean."""
    from lgbm_inference.training import Order, train  # noqa: PLC0415

    run = train(Order(timeframes=_ordered(timeframes), beside=_names(beside), **values), datetime.now(UTC))
    click.echo(json.dumps(run.report()) if as_json else run.text())


def _check_dataset(dataset: str) -> None:
    if not 1 <= len(dataset) <= _DATASET_CHARS_MAX or not dataset.isprintable():
        raise UsageError(f"--dataset {dataset[:60]!r}: expected 1 to {_DATASET_CHARS_MAX} printable characters")


def _ordered(timeframes: Sequence[str]) -> tuple[str, ...]:
    """Narrow to wide and each once: in whatever order they are named, the features are the same."""
    return tuple(timeframe for timeframe in _TIMEFRAMES if timeframe in timeframes)


def _names(text: str) -> tuple[str, ...]:
    """Each once, in the order in which they are named."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def main(command: click.Command = lgbm_inference) -> NoReturn:
    """Run a command; end the process with the exit code that the documentation tells."""
    _open_closed_streams()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except InferenceError as error:
        _complain(str(error), error.hint)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        _complain(str(error), "install the extra `inference`")
        sys.exit(UsageError.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(CTRL_C_EXIT_CODE)
    except Exception as bug:
        # What DuckDB makes of Ctrl-C while it works.
        if str(bug) == "Query interrupted":
            sys.exit(CTRL_C_EXIT_CODE)
        traceback.print_exc()
        _complain("this is a bug in lgbm_inference", "report what stands above")
        sys.exit(BUG_EXIT_CODE)
    sys.exit(0)


def _open_closed_streams() -> None:
    """Let each that is closed lead nowhere: the next file would get its number, and LightGBM's words with it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8", errors="replace"))  # noqa: SIM115 - kept


def _complain(message: str, hint: str) -> None:
    click.echo(f"lgbm_inference: {message}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)

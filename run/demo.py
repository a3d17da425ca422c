"""An afternoon of the feed in some seconds, and a pass over a market, against its own exchange: `make demo`."""

import calendar
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.made_up import market

FOLDER = Path("demo-data")
NOON_MS = calendar.timegm((2024, 2, 10, 12, 0, 0)) * 1000
SCRIPTS = Path(os.path.relpath(Path(__file__).parent))
PREDICTION = f"--model-root {FOLDER}/models --duckdb {FOLDER}/predictions.duckdb"
# What each command is given beside what is shown.
FLAGS = {
    # The machine lives today, this exchange in 2024: that is no skew to warn of.
    "ohlcv_feed_binance.py": f"--duckdb {FOLDER}/ohlcv.duckdb --persist-dir {FOLDER}/feed --max-skew-sec 1e10",
    "train_lgbm.py": f"--source {FOLDER}/ohlcv.duckdb --model-root {FOLDER}/models",
}

FORMING = '[[fault]]\nkind = "forming"'
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T12:00:00\nvolume = 1234.567'
# A market keeps its own store here: no series is kept twice, and BTCUSDT is in the other one.
MARKET = ("--symbols", "all", "--duckdb", f"{FOLDER}/market.duckdb")
MARKET_SYMBOLS = 20
REVISED_IN_IT = f'{REVISED.replace("12:", "19:")}\nsymbol = "DOGEUSDT"'


class Afternoon:
    """The exchange with its clock, and the feed beside it."""

    def __init__(self, clock: HandClock, exchange: ReplayExchange, url: str) -> None:
        self._clock = clock
        self._exchange = exchange
        # The commands' own `python` is the one that runs this.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self._environment = os.environ | {"BARFEED_BASE_URL": url, "PATH": path}

    def at(self, hour: int, minute: int, what: str, fault: str = "") -> None:
        """Move the exchange's clock, and script what goes wrong there."""
        self._clock.set(NOON_MS + (hour - 12) * HOUR_MS + minute * MINUTE_MS)
        self._exchange.faults = parse_faults(fault, "demo")
        print(
            f"\n\033[1m{hour:02d}:{minute:02d}  {what}\033[0m"
            if sys.stdout.isatty()
            else f"\n{hour:02d}:{minute:02d}  {what}"
        )

    def feed(self, *flags: str, expected: int = 0) -> None:
        """Run the feed as anybody would, and show what it says."""
        self.run("ohlcv_feed_binance.py", *flags, expected=expected)

    def run(self, script: str, *flags: str, expected: int = 0) -> None:
        """Run one of the commands, and show what it says."""
        print("$", shlex.join(["python", f"run/{script}", *flags]))
        command = [sys.executable, str(SCRIPTS / script), *FLAGS[script].split(), *flags]
        ran = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        print(_indented(ran.stdout + ran.stderr) + f"\n   exit {ran.returncode}", flush=True)
        if ran.returncode != expected:
            sys.exit(f"the demo expected exit {expected}")


def main() -> None:
    """Live the afternoon."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    clock = HandClock(NOON_MS)
    tape = generate("BTCUSDT", Interval.ONE_HOUR, NOON_MS - 1100 * HOUR_MS, 1110, seed=1)
    others = market(Interval.ONE_HOUR, NOON_MS, seed=1)[1:MARKET_SYMBOLS]
    exchange = ReplayExchange([tape, *others], clock.now_ms)
    with ReplayServer(exchange) as server:
        print(f"A replay exchange speaks Binance's protocol on {server.url}; it is 2024-02-10 there.")
        _live(Afternoon(clock, exchange, server.url))
    _show(sorted((FOLDER / "feed" / "BINANCE_BTCUSDT.P_60").glob("*")))
    _tell_of_page()


def _live(afternoon: Afternoon) -> None:
    afternoon.at(
        13, 1, "The first run: the store is empty, so it is started; with 1000 bars, enough to train on later."
    )
    afternoon.feed("--catch-up", "--buffer-hours", "280")
    afternoon.at(14, 1, "A normal hour: six bars pulled, five proven, one appended.")
    afternoon.feed()
    afternoon.at(15, 1, "The exchange slips the forming bar into its answer: refused.", FORMING)
    afternoon.feed(expected=5)
    afternoon.at(15, 2, "A minute later it behaves.")
    afternoon.feed()
    afternoon.at(16, 1, "The exchange tells another volume for a bar that is stored: caught.", REVISED)
    afternoon.feed(expected=1)
    afternoon.at(16, 5, "It takes that back; the hour is lived after all.")
    afternoon.feed()
    afternoon.at(19, 1, "The machine was off for two hours: nothing is skipped silently.")
    afternoon.feed(expected=1)
    afternoon.feed("--catch-up")
    afternoon.at(
        19, 30, "A small model learns from the store. On made-up bars there is nothing to learn, and it says so."
    )
    afternoon.run("train_lgbm.py", "--horizon-hours", "12")
    afternoon.at(20, 1, "The next hour, and the prediction that it was all for.")
    afternoon.feed(
        "--then", f'python {SCRIPTS}/run_inference_lgbm.py --input-csv "$BARFEED_INFERENCE_CSV" {PREDICTION}'
    )
    afternoon.at(20, 2, "A market in one process, here of twenty symbols, five in Chinese: its store is started.")
    afternoon.feed(*MARKET, "--catch-up")
    afternoon.at(
        21, 1, "One pass: one question for each. One of them tells another volume; the others are fed.", REVISED_IN_IT
    )
    afternoon.feed(*MARKET, expected=1)


def _show(files: Sequence[Path]) -> None:
    print(f"\nThe stores:    {FOLDER}/ohlcv.duckdb, table ohlcv_btcusdt_1h; {FOLDER}/market.duckdb, table ohlcv_1h")
    print(f"For the model: {next(file for file in files if file.name.startswith('latest'))}")
    print(f"               {FOLDER}/feed/BINANCE.P_1h/latest_for_inference.parquet")
    print("Evidence:      every pull, every decision, and every file the model was given")
    print(_indented("\n".join(str(file.name) for file in files if not file.name.startswith((".", "latest")))))


def _tell_of_page() -> None:
    print("\nA page on this market, to look at: make demo WEB=1 leaves it up at http://127.0.0.1:8787")


def _indented(text: str) -> str:
    return "\n".join(f"   {line}" for line in text.rstrip().splitlines())


if __name__ == "__main__":
    main()

"""docs/market.md: its commands are lived on a small market, and what it says of the exchange's own bars is counted."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import fork_server
from barfeed.domain.errors import BarfeedError
from docs.claims import claimed_by, why_not_run
from docs.pages import BLOCKS
from docs.test_docs_messages import family
from market_world import MarketMachine, market_machine, small_market
from process import BARFEED
from world import hours, ms, shared

MINE = [block for block in BLOCKS if claimed_by(block) == Path(__file__).name]
NOW_MS = ms(2026, 3, 1, 1) + 30_000
# How a command may end besides well: what is missing before a symbol's first bar, verify finds.
ENDS = {r"barfeed backfill .*": {0, 1}}

_HOURS = """
WITH made AS (
  SELECT time_bucket(INTERVAL 1 hour, timestamp) AS timestamp, arg_min(open, timestamp) AS open, max(high) AS high,
         min(low) AS low, arg_max(close, timestamp) AS close, sum(volume::DECIMAL(18, 3))::DOUBLE AS exactly,
         sum(volume) AS nearly
  FROM read_parquet($minutes) GROUP BY 1 HAVING count(*) = 60
)
SELECT count(*),
       count(*) FILTER ([made.open, made.high, made.low, made.close] = [told.open, told.high, told.low, told.close]),
       count(*) FILTER (exactly = volume), count(*) FILTER (nearly = volume)
FROM made JOIN read_parquet($hours) AS told USING (timestamp)
"""


def test_an_hour_is_not_always_the_sum_of_its_minutes() -> None:
    files = {"minutes": shared("rest/BTCUSDT-1m-2023-07.parquet"), "hours": shared("rest/BTCUSDT-1h.parquet")}
    counted = duckdb.execute(_HOURS, {name: str(path) for name, path in files.items()}).fetchall()
    assert counted == [(719, 719, 718, 201)]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MarketMachine]:
    with market_machine(tmp_path, small_market(NOW_MS - NOW_MS % hours(1) + hours(4), 1500), NOW_MS) as each:
        yield each


@pytest.mark.long
def test_the_page_runs_from_its_top_to_its_end(machine: MarketMachine) -> None:
    printed = ""
    for block in MINE:
        if block.kind == "console":
            for line in (each[2:] for each in block.text.splitlines() if each.startswith("$ ")):
                printed += "" if why_not_run(line) else lived(machine, line)
        elif block.kind == "sql":
            with duckdb.connect(machine.duckdb) as connection:
                for statement in filter(str.strip, block.text.split(";")):
                    connection.execute(statement)
    assert_words(printed)


def lived(machine: MarketMachine, line: str) -> str:
    """What a command printed; a watch is stopped after its first pass."""
    command = [str(BARFEED), *shlex.split(line)[1:]]
    given = {"DUCKDB": str(machine.duckdb), "PERSIST_DIR": str(machine.folder / "feed"), "MAX_SKEW_SEC": "1e10"}
    given |= {"STREAM_URL": machine.url.replace("http", "ws", 1) + "/market", "SPOT_URL": machine.url}
    environment = machine.environment(**{f"BARFEED_{name}": value for name, value in given.items()})
    if "--watch" in command:
        return watched(command, environment)
    if command[1] == "backfill":
        command += ["--source", "rest"]
    done = fork_server.run(command, environment)
    expected = next((codes for each, codes in ENDS.items() if re.fullmatch(each, line)), {0})
    assert done.returncode in expected, (line, done.stdout, done.stderr)
    return done.stdout


def watched(command: list[str], environment: dict[str, str]) -> str:
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        said = next((line for line in watch.stdout if "series=" in line), "")
        watch.terminate()
    assert said, command
    return said


def assert_words(printed: str) -> None:
    """What the page shows has no word that no command prints: `appended=`, or the name of a trouble."""
    known = set(re.findall(r"(\w+)=", printed)) | {each("x").status for each in family(BarfeedError)[1:]}
    for block in (each for each in MINE if each.kind != "sql"):
        shown = [line for line in block.text.splitlines() if re.match(r"(failed|series|verified|migrated)=", line)]
        for word in (word for line in shown for word in re.findall(r"(\w+)=", line)):
            assert word in known | {"failed", "exit", "awaited"}, (block, word)

"""The log as machines read it, and what must never be in it."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fork_server
from barfeed.domain.errors import BarfeedError, ExchangeUnavailable, StoreUnusable, WindowGap
from barfeed.feed import cycle_log
from barfeed.replay.faults.script import parse_faults
from operate.alerts.webhook import SECRET
from process import BARFEED, ROOT, Machine, machine
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
SLOW_ONCE = '[[fault]]\nkind = "status"\nstatus = 503\npath = "klines"\nrequests = "1"\n'


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, TARGET_MS) as made:
        yield made


def events(text: str) -> list[dict[str, Any]]:
    """Every line is one event, whole."""
    read = [json.loads(line) for line in text.splitlines()]
    for event in read:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event["time"])
        assert event["level"] in {"DEBUG", "INFO", "WARNING", "ERROR"}
        assert event["event"]
        assert event["logger"].startswith("barfeed")
    return read


def test_a_cycle_is_one_event_with_its_facts_and_the_line_on_stdout_stays(feeding: Machine) -> None:
    ran = feeding.feed("--catch-up", "--log-format", "json")
    assert ran.out.startswith("pulled=726 ")
    new_store, event = events(ran.err)
    assert (new_store["level"], new_store["event"]) == ("INFO", f"{feeding.duckdb} is a new store")
    assert (event["level"], event["event"]) == ("INFO", "the cycle ended")
    assert (event["series"], event["target"], event["cycle"]) == ("BTCUSDT 1h", "2024-02-10 13:00", "20240210_140030Z")
    assert (event["status"], event["exit_code"], event["counts"]["appended"]) == ("appended", 0, 726)
    assert set(event["durations_sec"]) > {"time", "pull", "store", "publish", "total"}
    assert event["duration_sec"] == pytest.approx(event["durations_sec"]["total"])


def skeleton(value: Any) -> Any:
    """All keys in their order, and the words, but no number."""
    if isinstance(value, dict):
        return [(key, skeleton(each)) for key, each in value.items()]
    return re.sub(r"\d+", "0", value) if isinstance(value, str) else type(value)


@pytest.mark.long
def test_the_line_on_the_page_is_the_one_of_a_good_hour(feeding: Machine) -> None:
    (shown,) = re.findall(r"```json\n(.*)\n```", (ROOT / "docs" / "logs.md").read_text())
    feeding.feed("--catch-up")
    feeding.clock.advance(hours(1))
    (event,) = events(feeding.feed("--log-format", "json", "--max-skew-sec", "1e10").err)
    event["exchange"]["base_url"] = "https://fapi.binance.com"
    assert skeleton(json.loads(shown)) == skeleton(event)


@pytest.mark.long
def test_what_happens_within_a_cycle_names_it(feeding: Machine) -> None:
    feeding.feed("--catch-up")
    feeding.clock.advance(hours(1))
    feeding.exchange.requests.clear()
    feeding.exchange.faults = parse_faults(SLOW_ONCE, "the test")
    again, ended = events(feeding.feed(BARFEED_LOG_FORMAT="json").err)
    assert (again["level"], again["logger"]) == ("WARNING", "barfeed.exchange.rest")
    assert again["event"].startswith("/fapi/v1/klines: HTTP 503")
    assert (again["cycle"], again["target"]) == (ended["cycle"], "2024-02-10 14:00")


def test_a_failure_is_an_error_with_its_hint_and_a_traceback_is_a_field(feeding: Machine) -> None:
    ran = feeding.feed("--log-format", "json", "--debug")
    assert ran.code == 1
    *_, traceback, complaint, ended = [event for event in events(ran.err) if "GET " not in event["event"]]
    assert traceback["level"] == "DEBUG"
    assert traceback["exception"].startswith("Traceback (most recent call last):\n")
    assert (ended["level"], ended["status"], ended["exit_code"]) == ("ERROR", "store_empty", 1)
    assert complaint["event"] == "BTCUSDT 1h: the store holds no bar to validate against"
    assert complaint["hint"].startswith("start it: ")


def barfeed(feeding: Machine, *words: str) -> "subprocess.CompletedProcess[str]":
    return fork_server.run([BARFEED, *words], feeding.environment(), cwd=feeding.folder)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("verify", "--duckdb", "absent.duckdb"), 4),
        (("status", "--symbol", "no/symbol"), 2),
        (("backfill", "--from", "2024-02-10", "--source", "rest", "--base-url", "http://DEAF"), 3),
        (("prune", "--symbol", "no/symbol"), 2),
        (("export", "--duckdb", "absent.duckdb", "x.csv"), 4),
        (("alert", "test"), 2),
    ],
)
def test_every_command_that_fails_says_so_in_json(
    feeding: Machine, deaf: str, words: tuple[str, ...], code: int
) -> None:
    words = tuple(word.replace("DEAF", deaf) for word in words)
    done = barfeed(feeding, *words, "--log-format", "json", *(("--max-wait-sec", "1") if "backfill" in words else ()))
    assert done.returncode == code, done.stderr
    assert events(done.stderr)[-1]["level"] == "ERROR"


def test_what_a_long_command_remarks_is_an_event_too(feeding: Machine) -> None:
    done = barfeed(feeding, "backfill", "--from", "2024-02-09", "--source", "rest", "--log-format", "json")
    assert done.returncode == 0, done.stderr
    events(done.stderr)


def test_what_libraries_log_stays_out() -> None:
    program = (
        "import logging; from barfeed.operate import logs; logs.log_to_stderr(debug=True, as_json=False);"
        f"logging.getLogger('urllib3.connectionpool').error('/{SECRET}');"
        f"logging.getLogger('apprise').critical('{SECRET}'); logging.getLogger('barfeed.x').debug('seen')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "DEBUG seen\n"


@pytest.mark.parametrize(
    ("error", "level"),
    [(None, "INFO"), (ExchangeUnavailable, "WARNING"), (WindowGap, "ERROR"), (StoreUnusable, "ERROR")],
)
def test_a_level_says_who_should_look(error: type[BarfeedError] | None, level: str) -> None:
    assert logging.getLevelName(cycle_log.level_of(error.exit_code if error else 0)) == level

"""Every fault that the exchange is known for: the store untouched, the documented exit, the evidence."""

from typing import NamedTuple

import pytest

from barfeed.replay.faults.script import KINDS, STREAM
from world import World, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)


class Case(NamedTuple):
    """A fault that lasts, and how the hour ends under it."""

    fault: str
    exit_code: int
    status: str
    says: str
    readable: bool = True


BROKEN = "contract_broken"
GONE = "exchange_unavailable"
BAR = "bar = 2024-02-10T11:00:00"

CASES = {
    "a bar hidden in the middle": Case(f'kind = "hide"\n{BAR}', 5, BROKEN, "2 intervals after 2024-02-10 10:00"),
    "the target hidden": Case(
        'kind = "hide"\nbar = 2024-02-10T13:00:00', 3, "bar_late", "does not show 2024-02-10 13:00"
    ),
    "a late roll-over that never ends": Case(
        'kind = "late"\nrows = 2\nsec = 3599', 3, "bar_late", "its newest is 2024-02-10 12:00"
    ),
    "no row at all": Case('kind = "empty"', 3, "bar_late", "no bar at all"),
    "a stored bar revised": Case(f'kind = "revise"\n{BAR}\nvolume = 0.5', 1, "mismatch", "volume stored"),
    "a stored bar turned flat": Case(
        f'kind = "flat"\n{BAR}\nuntil_bar = 2024-02-10T11:00:00', 1, "mismatch", "2024-02-10 11:00"
    ),
    "a row twice": Case(f'kind = "duplicate"\n{BAR}', 5, BROKEN, "comes twice"),
    "rows out of order": Case(f'kind = "disorder"\n{BAR}', 5, BROKEN, "2024-02-10 11:00"),
    "a row off the grid": Case(f'kind = "off_grid"\n{BAR}\nms = 1695000', 5, BROKEN, "beside the 1h grid"),
    "the forming row slipped in": Case('kind = "forming"', 5, BROKEN, "still forming"),
    "NaN for a price": Case(f'kind = "text"\n{BAR}\ncolumn = 1\nvalue = \'"NaN"\'', 5, BROKEN, "finite decimal", False),
    "an overflowing price": Case(f'kind = "text"\n{BAR}\ncolumn = 2\nvalue = \'"1e999"\'', 5, BROKEN, "finite", False),
    "a number for a text": Case(
        f'kind = "text"\n{BAR}\ncolumn = 4\nvalue = "43000.5"', 5, BROKEN, "Expected `str`", False
    ),
    "null for a number": Case(f'kind = "text"\n{BAR}\ncolumn = 0\nvalue = "null"', 5, BROKEN, "Expected `int`", False),
    "a negative volume": Case(
        f'kind = "text"\n{BAR}\ncolumn = 5\nvalue = \'"-1.0"\'', 5, BROKEN, "negative: volume -1.0"
    ),
    "a low above the rest": Case(f'kind = "text"\n{BAR}\ncolumn = 3\nvalue = \'"9e9"\'', 5, BROKEN, "do not enclose"),
    "a wrong close_time": Case(f'kind = "text"\n{BAR}\ncolumn = 6\nvalue = "1707562799998"', 5, BROKEN, "close_time"),
    "a row short of a field": Case(f'kind = "missing_field"\n{BAR}\ncolumn = 8', 5, BROKEN, "11 fields", False),
    "an object instead of rows": Case('kind = "object"', 5, BROKEN, "expected an array of klines", False),
    "HTML with status 200": Case('kind = "html"', 3, GONE, "not JSON", False),
    "JSON cut short": Case('kind = "cut_json"', 3, GONE, "not JSON", False),
    "a body cut on the wire": Case('kind = "truncate"', 3, GONE, "Truncate", False),
    "a reset": Case('kind = "reset"', 3, GONE, "Reset", False),
    "silence": Case('kind = "hang"\nsec = 3600', 3, GONE, "Timeout", False),
    "an endlessly slow body": Case('kind = "drip"\nbytes_per_sec = 1', 3, GONE, "Timeout", False),
    "a redirect": Case(
        'kind = "redirect"\nto = "https://elsewhere.example/"', 5, "exchange_refused", "not followed", False
    ),
    "a ban": Case('kind = "status"\nstatus = 418', 3, "exchange_blocked", "banned this address until", False),
    "too many requests": Case('kind = "status"\nstatus = 429\nretry_after = 900', 3, GONE, "HTTP 429", False),
    "a firewall": Case('kind = "status"\nstatus = 403', 3, "exchange_blocked", "HTTP 403", False),
    "a forbidden location": Case('kind = "status"\nstatus = 451', 5, "exchange_refused", "location", False),
    "a wrong path": Case('kind = "status"\nstatus = 404', 5, "exchange_refused", "HTTP 404", False),
    "a request timeout": Case('kind = "status"\nstatus = 408', 3, GONE, "HTTP 408", False),
    "an internal error": Case('kind = "status"\nstatus = 500', 3, GONE, "HTTP 500", False),
    "a bad gateway": Case('kind = "status"\nstatus = 502', 3, GONE, "HTTP 502", False),
    "an overload": Case('kind = "status"\nstatus = 503', 3, GONE, "HTTP 503", False),
    "a gateway timeout": Case('kind = "status"\nstatus = 504', 3, GONE, "HTTP 504", False),
    "a refused parameter": Case(
        'kind = "status"\nstatus = 400\ncode = -1122\nmsg = "Invalid symbol status."',
        5,
        "exchange_refused",
        "-1122",
        False,
    ),
    "a clock that is down": Case('kind = "status"\nstatus = 503\npath = "time"', 3, GONE, "/fapi/v1/time", False),
    "a clock that speaks HTML": Case('kind = "html"\npath = "time"', 3, GONE, "not JSON", False),
    "a clock that is three minutes fast": Case(
        'kind = "skew"\nms = 3580000', 5, BROKEN, "the exchange's clocks disagree"
    ),
    "a clock that is an hour behind": Case(
        'kind = "skew"\nms = -3600000', 5, BROKEN, "2024-02-10 12:00 by the one, 2024-02-10 13:00 by the other"
    ),
    "a clock that stands still for hours": Case(
        'kind = "stale_time"\nsec = 36000', 5, BROKEN, "the exchange's clocks disagree"
    ),
    "a clock without a time": Case('kind = "object"\npath = "time"', 5, BROKEN, "serverTime", False),
}

# These end well: the feed is meant to bear them.
BORNE = {
    "late for the first seconds": 'kind = "late"\nrows = 2\nsec = 40',
    "one HTML page": 'kind = "html"\nrequests = "1"',
    "one body cut short": 'kind = "truncate"\nrequests = "1"',
    "three resets": 'kind = "reset"\nrequests = "1-3"',
    "five overloads": 'kind = "status"\nstatus = 503\nrequests = "1-5"',
    "one 429 with Retry-After": 'kind = "status"\nstatus = 429\nretry_after = 20\nrequests = "1"',
    "one 429 without it": 'kind = "status"\nstatus = 429\nrequests = "1"',
    "a slow answer": 'kind = "hang"\nsec = 5',
    "headers in upper case": 'kind = "header_case"\ncase = "upper"',
    "headers in lower case": 'kind = "header_case"\ncase = "lower"',
    "a target that is flat": 'kind = "flat"\nbar = 2024-02-10T13:00:00\nuntil_bar = 2024-02-10T13:00:00',
    "a clock that errs by less than the settling": 'kind = "skew"\nms = -4000',
    "a clock that stands still for a while": 'kind = "stale_time"\nsec = 20',
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_that_lasts_leaves_the_store_as_it_is_and_exits_as_documented(started: World, case: Case) -> None:
    before = started.duckdb.read_bytes()
    latest = (started.feed.folder / "latest_for_inference.csv").read_bytes()
    began_ms = started.clock.now_ms
    record = started.run(f"[[fault]]\n{case.fault}\n")
    assert (record.exit_code, record.status) == (case.exit_code, case.status)
    assert record.failure is not None
    assert case.says in record.failure.message
    assert record.inference is None
    assert started.duckdb.read_bytes() == before
    assert (started.feed.folder / "latest_for_inference.csv").read_bytes() == latest
    assert (record.pull is not None) == case.readable
    assert record.manifest_path is not None
    assert started.clock.now_ms - began_ms <= 121_000


@pytest.mark.long
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_once_the_fault_is_over_the_next_hour_goes_on(started: World, case: Case) -> None:
    started.run(f"[[fault]]\n{case.fault}\n")
    started.clock.go_to(TARGET_MS + hours(2) + 30_000)
    assert started.run(catch_up=True).appended == 2
    stored = started.bars()
    assert stored == [started.taped()[bar.open_time_ms] for bar in stored]


@pytest.mark.parametrize("fault", BORNE.values(), ids=BORNE.keys())
def test_a_passing_fault_is_borne(started: World, fault: str) -> None:
    started.clock.go_to(TARGET_MS + hours(1) + 11_000)
    started.exchange.requests.clear()
    record = started.run(f"[[fault]]\n{fault}\n")
    assert (record.status, record.exit_code) == ("appended", 0)
    assert started.bars()[-1].open_time_ms == TARGET_MS


def test_a_bar_revised_again_and_again_is_caught_each_time(started: World) -> None:
    for volume in (1.5, 2.5, 3.5):
        record = started.run(f'[[fault]]\nkind = "revise"\n{BAR}\nvolume = {volume}')
        assert record.status == "mismatch"
        assert record.failure is not None
        assert record.failure.message.endswith(f"exchange {volume}")


@pytest.mark.parametrize("status", [418, 403, 451])
def test_a_block_stops_every_call_at_once(started: World, status: int) -> None:
    started.exchange.requests.clear()
    started.run(f'[[fault]]\nkind = "status"\nstatus = {status}\npath = "*"')
    assert started.exchange.requests.total() == 1


def test_an_overrun_of_the_weight_is_waited_out_in_the_next_minute(started: World) -> None:
    started.exchange.requests.clear()
    began_ms = started.clock.now_ms
    record = started.run('[[fault]]\nkind = "status"\nstatus = 429\nrequests = "1"')
    assert record.exit_code == 0
    # From 14:00:30 to the turn of the minute, and half a second of jitter.
    assert started.clock.now_ms - began_ms == 30_500


def test_no_kind_of_fault_is_left_out() -> None:
    used = {
        line.split('"')[1]
        for fault in [*BORNE.values(), *(case.fault for case in CASES.values())]
        for line in fault.splitlines()
        if line.startswith("kind")
    }
    # The stream's are lived in tests/stream, a symbol's own in test_symbol_life.
    lives = {"pending", "halt", "settle", "delist"}
    assert used | lives == {name for name, kind in KINDS.items() if kind.path != STREAM}

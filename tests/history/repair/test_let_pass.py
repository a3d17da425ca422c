"""`barfeed repair --let-pass`: a bar whose columns contradict each other, let pass by a person. Real processes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.replay.faults.script import parse_faults
from history.repair.conftest import Barfeed
from process import Machine, lived_machine
from storage import opened
from world import ms

TARGET_MS = ms(2024, 2, 10, 13)
BAR = "2024-02-10 14:00"
DEARER = '[[fault]]\nkind = "text"\nbar = 2024-02-10T14:00:00\ncolumn = 7\nvalue = \'"99999999999.5"\'\n'
FREE = DEARER + '[[fault]]\nkind = "text"\nbar = 2024-02-10T14:00:00\ncolumn = 3\nvalue = \'"0.0"\'\n'
QUICK = ("--pause-sec", "0")


@pytest.fixture
def contradicting(tmp_path: Path) -> Iterator[Machine]:
    """A feed that has lived up to 13:00; the exchange's bar of 14:00 has a quote volume that cannot be."""
    with lived_machine(tmp_path, TARGET_MS, hours_later=1, faults=DEARER) as ready:
        yield ready


def newest(feeding: Machine) -> str:
    with opened(feeding.duckdb, read_only=True) as connection:
        (found,) = connection.execute("SELECT max(timestamp)::VARCHAR FROM ohlcv_btcusdt_1h").fetchall()
    return str(found[0])


def test_the_feeds_own_hint_lets_the_hour_go_on(contradicting: Machine, barfeed: Barfeed) -> None:
    ran = contradicting.feed()
    assert ran.code == 5
    assert f"--let-pass '{BAR}'" in ran.err.splitlines()[1]
    looked = barfeed(contradicting, "repair", "--let-pass", BAR, "--dry-run")
    assert looked.code == 1
    told = looked.out.splitlines()
    assert told[0] == f"BTCUSDT 1h: {BAR} contradicts itself"
    assert told[1].startswith("  mean_price      quote_volume 99999999999.5 by volume ")
    assert "quote_volume 99999999999.5, trades " in told[2]
    assert contradicting.feed().code == 5, "a look changes nothing"

    done = barfeed(contradicting, "repair", "--let-pass", BAR, "--yes", "--reason", "seen on the page", *QUICK)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == f"let_pass='{BAR}' rules=mean_price run='let pass 2024-02-10 15:00:30'"
    assert contradicting.feed().code == 0
    assert newest(contradicting) == "2024-02-10 14:00:00"
    listed = barfeed(contradicting, "revisions").out.splitlines()
    assert listed[0].startswith(f"{BAR}  let pass: open ")
    assert listed[0].endswith(" reason='seen on the page (mean_price)' run='let pass 2024-02-10 15:00:30'")
    assert listed[1] == "BTCUSDT 1h: 1 revisions"


@pytest.mark.long
def test_a_bar_that_is_let_pass_already_is_told_since_when_and_not_noted_twice(
    contradicting: Machine, barfeed: Barfeed
) -> None:
    words = ("repair", "--let-pass", BAR, "--yes", *QUICK)
    assert barfeed(contradicting, *words, "--reason", "seen on the page").code == 0
    with opened(contradicting.duckdb, read_only=True) as connection:
        ((since,),) = connection.execute(
            "SELECT strftime(accepted_at, '%Y-%m-%d %H:%M:%S') FROM ohlcv_revisions"
        ).fetchall()
    before = contradicting.duckdb.read_bytes()
    again = barfeed(contradicting, *words, "--reason", "once more")
    assert (again.code, again.err) == (0, "")
    said = again.out.splitlines()[-1]
    assert said.startswith(f"BTCUSDT 1h: {BAR} is let pass already, since {since}")
    assert said.endswith(": 'seen on the page (mean_price)'")
    looked = barfeed(contradicting, "repair", "--let-pass", BAR, "--dry-run")
    assert (looked.code, looked.out.splitlines()[-1]) == (0, said)
    told = json.loads(barfeed(contradicting, *words, "--json").out)
    assert (told["let_pass"], told["since"][: len(since)]) == (True, since)
    assert contradicting.duckdb.read_bytes() == before


@pytest.mark.long
def test_a_bar_with_other_values_is_let_pass_anew(contradicting: Machine, barfeed: Barfeed) -> None:
    words = ("repair", "--let-pass", BAR, "--yes", *QUICK)
    assert barfeed(contradicting, *words).code == 0
    dearer = DEARER + DEARER.replace("column = 7", "column = 5").replace("99999999999.5", "12.5")
    contradicting.exchange.faults = parse_faults(dearer, "the test")
    assert barfeed(contradicting, *words).out.splitlines()[-1].startswith("let_pass=")
    assert barfeed(contradicting, "revisions").out.splitlines()[-1] == "BTCUSDT 1h: 2 revisions"


@pytest.mark.long
def test_where_no_revision_can_be_kept_nobody_is_asked_to_let_a_bar_pass(
    contradicting: Machine, barfeed: Barfeed
) -> None:
    with opened(contradicting.duckdb) as connection:
        connection.execute("CREATE TABLE ohlcv_revisions AS SELECT 'mine' AS note")
    for flags in (("--yes", *QUICK), ("--dry-run",)):
        ran = barfeed(contradicting, "repair", "--let-pass", BAR, *flags)
        assert (ran.code, ran.out) == (4, "")
        assert "table ohlcv_revisions is not the one that barfeed keeps the revisions in" in ran.err


@pytest.mark.long
def test_the_json_tells_the_row_and_what_it_breaks(contradicting: Machine, barfeed: Barfeed) -> None:
    ran = barfeed(contradicting, "repair", "--let-pass", BAR, "--yes", "--json", *QUICK)
    told = json.loads(ran.out)
    assert (ran.code, told["bar"], told["let_pass"]) == (0, BAR, True)
    assert [found["rule"] for found in told["findings"]] == ["mean_price"]
    assert told["exchange"]["quote_volume"] == 99999999999.5
    assert set(told["exchange"]) == {
        "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"
    }  # fmt: skip


@pytest.mark.long
def test_a_price_of_zero_is_never_let_pass(contradicting: Machine, barfeed: Barfeed) -> None:
    contradicting.exchange.faults = parse_faults(FREE, "the test")
    ran = barfeed(contradicting, "repair", "--let-pass", BAR, "--yes", *QUICK)
    assert ran.code == 5
    assert "a price of zero: low" in ran.err
    assert "such a bar is never let pass" in ran.err
    assert contradicting.feed().code == 5


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (
            ("--let-pass", "2024-02-10 13:00", "--yes"),
            0,
            "2024-02-10 13:00 breaks no rule: there is nothing to let pass",
        ),
        (("--let-pass", "2024-02-10 15:00", "--yes"), 2, "has no closed bar that opens at 2024-02-10 15:00"),
        (("--let-pass", "2024-02-10 14:30", "--yes"), 2, "has no closed bar that opens at 2024-02-10 14:30"),
        (("--let-pass", "1999-01-01", "--yes"), 2, "has no closed bar that opens at 1999-01-01 00:00"),
        (("--let-pass", BAR), 2, "nobody can be asked here"),
        (("--let-pass", BAR, "--from", BAR, "--yes"), 2, "it goes without --from, --to and --only"),
    ],
)
def test_what_cannot_be_let_pass_is_told(
    contradicting: Machine, barfeed: Barfeed, flags: tuple[str, ...], code: int, says: str
) -> None:
    ran = barfeed(contradicting, "repair", *flags, *QUICK)
    assert (ran.code, says in ran.out + ran.err) == (code, True), ran


@pytest.mark.long
def test_a_backfill_and_a_comparison_know_the_rules_and_what_was_let_pass(
    contradicting: Machine, barfeed: Barfeed
) -> None:
    filled = barfeed(contradicting, "backfill", "--from", "2024-02-10")
    assert filled.code == 5
    assert f"1 rule broken by the exchange's answer; first: {BAR} has a mean price" in filled.err
    assert "hint: nothing was stored; run it again later, and if the exchange stays with it" in filled.err
    assert filled.err.rstrip().endswith(f"--let-pass '{BAR}'")
    barfeed(contradicting, "repair", "--let-pass", BAR, "--yes", *QUICK)
    assert barfeed(contradicting, "backfill", "--from", "2024-02-10").code == 0
    assert newest(contradicting) == "2024-02-10 14:00:00"

    compared = barfeed(contradicting, "verify", "--against", "rest", "--from", "2024-02-10")
    assert compared.code == 0, compared.out
    noon = DEARER.replace("14:00:00", "12:00:00")
    contradicting.exchange.faults = parse_faults(DEARER + noon, "the test")
    compared = barfeed(contradicting, "verify", "--against", "rest", "--from", "2024-02-10")
    assert compared.code == 1
    assert compared.out.splitlines()[0].startswith("mean_price: 2024-02-10 12:00 exchange: has a mean price")


@pytest.mark.long
def test_where_the_exchange_mends_it_meanwhile_nothing_is_noted(contradicting: Machine, barfeed: Barfeed) -> None:
    # The second time it is asked, the row is whole.
    first = contradicting.exchange.requests["/fapi/v1/klines"] + 1
    contradicting.exchange.faults = parse_faults(f'{DEARER}requests = "{first}"\n', "the test")
    ran = barfeed(contradicting, "repair", "--let-pass", BAR, "--yes", *QUICK)
    assert ran.code == 1
    assert "asked again, the exchange said something else of 2024-02-10 14:00: not let pass" in ran.err
    assert barfeed(contradicting, "revisions").out == "BTCUSDT 1h: 0 revisions\n"

"""Samples of `make soak`: the full hundred thousand hours are reported in docs/proof.md."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.replay.faults.script import KINDS, STREAM
from barfeed.replay.rest import venue
from proof.soak import MarketSoak, Soak, soak
from proof.soak_report import BEGIN, END, PAGE, put
from proof.storm import EXITS, FAULTS, MAY_END


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(venue, "CACHED_ROWS", venue.CACHED_ROWS)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_fault_that_the_replay_exchange_knows_is_in_the_storm() -> None:
    assert set(FAULTS) == set(MAY_END) == {name for name, kind in KINDS.items() if kind.path != STREAM}
    assert set().union(*MAY_END.values()) <= set(EXITS)


@pytest.mark.long
@pytest.mark.parametrize("of", [Soak, MarketSoak])
def test_a_few_days_of_bad_weather_end_as_documented_and_in_the_very_tape(of: type[Soak], tmp_path: Path) -> None:
    report = soak(tmp_path, 40, seed=8, month_hours=10, of=of)
    assert report.ended.total() == 40
    assert len(report.struck) > 5


@pytest.mark.proof
@pytest.mark.parametrize("of", [Soak, MarketSoak])
def test_months_of_bad_weather_end_as_documented_and_in_the_very_tape(of: type[Soak], tmp_path: Path) -> None:
    report = soak(tmp_path, 1500, seed=3, month_hours=240, of=of)
    assert set(report.struck) == set(FAULTS)
    assert report.is_flat, report.markdown()


def test_a_report_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "proof.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put("new", page)
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert BEGIN in PAGE.read_text()

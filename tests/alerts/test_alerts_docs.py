"""What docs/alerts.md and docs/logs.md state is true."""

import re
import tomllib

import pytest

from barfeed import errors, telling, troubles
from barfeed.config import Settings
from process import ROOT

PAGE = (ROOT / "docs" / "alerts.md").read_text()
# Neither ends a cycle: one never begins it, the other is a repair's.
NEVER_TOLD = {"usage_error", "unrepaired"}


def all_errors(root: type[errors.BarfeedError] = errors.BarfeedError) -> set[type[errors.BarfeedError]]:
    return {root} | {each for child in root.__subclasses__() for each in all_errors(child)}


def test_every_trouble_that_can_be_told_is_in_the_table() -> None:
    table = PAGE.partition("| trouble |")[2].partition("\n\n")[0]
    leaves = {each("").status for each in all_errors() if each.__module__ == errors.__name__ and _is_raised(each)}
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", table)) == (leaves - NEVER_TOLD) | {"bug", "clock_skew"}


def _is_raised(error: type[errors.BarfeedError]) -> bool:
    return not error.__subclasses__() or error in {errors.ExchangeUnavailable, errors.ExchangeRefused}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_address_in_the_page_is_one_that_apprise_takes() -> None:
    apprise = pytest.importorskip("apprise", reason="extra `alerts`")
    table = PAGE.partition("| channel |")[2].partition("\n\n")[0]
    addresses = re.findall(r"`(\w+://[^`]+)`", table)
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    settings = tomllib.loads(toml)
    given = (*addresses, *settings["alert"])
    assert len(given) == 10
    assert [each for each in given if not apprise.Apprise().add(each)] == []
    Settings(alert=given, heartbeat_url=settings["heartbeat_url"]).series()


def test_the_times_in_the_page_are_those_of_the_code() -> None:
    assert f"waits {telling.ALERT_WAIT_SEC:g} seconds at most" in PAGE
    assert f"gives what is left {telling.LAST_CHANCE_SEC:g} seconds" in PAGE
    assert f"It has {telling.HEARTBEAT_TIMEOUT_SEC:g}\nseconds" in PAGE
    assert troubles.FORGET_AFTER_MS == 86_400_000
    assert "for a day at most" in PAGE

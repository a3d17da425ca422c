"""What docs/alerts.md and docs/logs.md state is true."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from barfeed.cli.settings import Settings
from barfeed.domain import errors
from barfeed.domain.errors import BarLate, Mismatch
from barfeed.operate.alerts import crowd, delivery, troubles
from barfeed.operate.alerts.channels import channels
from barfeed.operate.alerts.crowd import Crowd
from barfeed.operate.alerts.delivery import Alerts
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.operate.alerts.troubles import Heard, Ledger
from operate.alerts.webhook import Webhook
from process import ROOT
from world import World, hours, made_up_tape, ms

PAGE = (ROOT / "docs" / "alerts.md").read_text()
TARGET_MS = ms(2024, 2, 10, 13)
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 1234.567'
# None ends a cycle: one never begins it, one is a repair's, and what is late of another kind is not lost.
NEVER_TOLD = {"usage_error", "unrepaired", "kind_late"}


def all_errors(root: type[errors.BarfeedError] = errors.BarfeedError) -> set[type[errors.BarfeedError]]:
    return {root} | {each for child in root.__subclasses__() for each in all_errors(child)}


def test_every_trouble_that_can_be_told_is_in_the_table() -> None:
    table = PAGE.partition("| trouble |")[2].partition("\n\n")[0]
    leaves = {each("").status for each in all_errors() if each.__module__ == errors.__name__ and _is_raised(each)}
    assert set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", table)) == (leaves - NEVER_TOLD) | {
        "bug",
        "clock_skew",
        "kind_missing",
        "not_traded",
    }


def _is_raised(error: type[errors.BarfeedError]) -> bool:
    return not error.__subclasses__() or error in {errors.ExchangeUnavailable, errors.ExchangeRefused}


@pytest.mark.long
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
    assert f"waits {delivery.ALERT_WAIT_SEC:g} seconds at most" in PAGE
    assert f"gives what is left {delivery.LAST_CHANCE_SEC:g} seconds" in PAGE
    assert f"It has {delivery.HEARTBEAT_TIMEOUT_SEC:g}\nseconds" in PAGE
    assert troubles.FORGET_AFTER_MS == 86_400_000
    assert "for a day at most" in PAGE


def block(kind: str, number: int = 0) -> str:
    return [found[1] for found in re.finditer(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)][number]


@pytest.mark.long
def test_the_command_on_the_page_prints_what_is_shown_below_it(webhook: Webhook) -> None:
    pytest.importorskip("apprise", reason="extra `alerts`")
    command, *shown = block("console").splitlines()
    given = os.environ | {"BARFEED_ALERT": f"ntfy://127.0.0.1:{webhook.port}/topic tgram://no-token"}
    words = [sys.executable, "-m", *command.removeprefix("$ ").split()]
    done = subprocess.run(words, env=given, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()) == (1, shown)


def test_the_message_of_many_on_the_page_is_what_their_troubles_give() -> None:
    late = ("ADAUSDT", "BTCUSDC", "BTCUSDT", "DOGEUSDC", "SOLUSDT", *(f"{each}USDC" for each in "ABCDEFG"))
    said = {
        "ETHUSDT": Mismatch(
            "ETHUSDT 1h: 1 of 5 stored bars differ from the exchange; first: 2026-03-10 12:00 volume stored 9085.688,"
            " exchange 1234.567",
            hint="nothing was appended; see both versions, and take the exchange's if it is right:"
            " barfeed repair --symbol ETHUSDT",
        ),
    } | {
        each: BarLate(f"{each} 1h: the exchange does not show 2026-03-10 13:00 yet; its newest is 2026-03-10 12:00")
        for each in late
    }
    lasting = Heard("series XRPUSDT", "XRPUSDT 1h", "window_gap", "a gap")
    new = [Heard(f"series {name}", f"{name} 1h", each.status, str(each), each.hint) for name, each in said.items()]
    ledger, at_ms = Ledger(), ms(2026, 3, 10, 14, 0, 45)
    for heard, now_ms in (([lasting], at_ms - hours(1)), ([*new, lasting], at_ms)):
        ledger = crowd.note(ledger, Crowd("series", "all 1h", heard, ["XRPUSDT", *said]), ["channel 1"], now_ms)
    (letter,) = ledger.letters
    assert f"{letter.message.title}\n{letter.message.body}\n" == block("text", 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("status", [200, 500])
def test_a_message_and_the_warning_on_the_page_are_what_a_mismatch_gives(
    tmp_path: Path, webhook: Webhook, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    pytest.importorskip("apprise", reason="extra `alerts`")
    webhook.status = status
    world = World(tmp_path, [made_up_tape(TARGET_MS + hours(10), 2010)], TARGET_MS + hours(1))
    assert world.run(catch_up=True).exit_code == 0
    world.clock.go_to(TARGET_MS + hours(2) + 30_000)
    record = world.run(REVISED)
    tell = Alerts(channels((webhook.channel,)), LedgerFile(world.feed.folder), world.clock, 5.0, 20.0)
    tell(record, world.rest.conversation(1))
    message, warning = block("text"), block("text", 2)
    assert [f"{each['title']}\n{each['message']}\n" for each in webhook.posted] == [message] * (status == 200)
    warned = [
        f"WARNING {each.getMessage()}\n" for each in caplog.records if each.name == "barfeed.operate.alerts.delivery"
    ]
    assert warned == [warning.replace("(tgram)", "(json)")] * (status == 500)

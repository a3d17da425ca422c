"""A market in bad weather, hour by hour and as processes, and what people were told of it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.feed.market.one_pass import record_of, run_pass
from barfeed.operate.alerts.channels import channels
from barfeed.operate.alerts.delivery import Alerts
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.replay.faults.script import parse_faults
from in_turn import InTurn
from market_world import MarketMachine, MarketWorld, market_machine, small_market
from operate.alerts.webhook import SECRET, Webhook
from process import Ran
from waiting import LONGEST_SEC
from world import hours, made_up_tape, ms

pytest.importorskip("apprise", reason="extra `alerts`")

# apprise looks at each of its plugins, and some use what Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TARGET_MS = ms(2026, 3, 10, 13)
DOWN = '[[fault]]\nkind = "status"\nstatus = 503\n'
BANNED = '[[fault]]\nkind = "status"\nstatus = 418\n'
REVISED = '[[fault]]\nkind = "revise"\nbar = 2026-03-10T12:00:00\nvolume = 1234.567\nsymbol = "ETHUSDT"\n'
REFUSED = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "Illegal."\nsymbol = ["ADAUSDT", "BTCUSDT"]\n'


class Feeding:
    """A market that lives hour after hour and is heard of, each time as by a process of its own."""

    def __init__(self, world: MarketWorld, address: str) -> None:
        self.world = world
        self._address = address
        self._hour = 0

    def live(self, fault: str = "", count: int = 1) -> None:
        world = self.world
        for _ in range(count):
            self._hour += 1
            world.clock.go_to(TARGET_MS + hours(1 + self._hour) + 30_000)
            world.exchange.faults = parse_faults(fault, "the test")
            order = world.market._replace(reach=world.market.reach._replace(catch_up=True))
            talk = world.rest.conversation(60.0)
            record = run_pass(world.feed, order, talk, InTurn(world._transport, world.clock))
            self.alerts()(record, talk)

    def alerts(self, patience_sec: float = 0.0) -> Alerts:
        feed, to = self.world.feed, channels((self._address,))
        return Alerts(to, LedgerFile(feed.folder), feed.clock, 5.0, LONGEST_SEC, patience_sec=patience_sec)


@pytest.fixture
def feeding(tmp_path: Path, webhook: Webhook) -> Iterator[Feeding]:
    world = MarketWorld(tmp_path, small_market(TARGET_MS + hours(60), 200), TARGET_MS + hours(1) + 30_000)
    assert world.run_pass(catch_up=True).exit_code == 0
    yield Feeding(world, webhook.channel)
    assert SECRET not in "".join(path.read_text() for path in world.feed.folder.glob("*.json"))


@pytest.mark.long
def test_hours_of_trouble_are_exactly_these_messages(feeding: Feeding, webhook: Webhook) -> None:
    feeding.live(count=2)
    feeding.live(REVISED, count=2)
    feeding.live(REVISED + REFUSED)
    feeding.live(REVISED)
    feeding.live()
    feeding.live(DOWN + 'path = "*"\n', count=2)
    feeding.live()
    assert [(each["type"], each["title"].removeprefix("barfeed all 1h: ")) for each in webhook.posted] == [
        ("failure", "mismatch"),
        ("failure", "exchange_refused"),
        ("success", "2 of its troubles ended"),
        ("success", "well again"),
        ("failure", "exchange_unavailable"),
        ("success", "well again"),
    ]
    first, joined, *_, back = [each["message"].splitlines() for each in webhook.posted]
    assert first[0].startswith("ETHUSDT 1h: 1 of 5 stored bars differ from the exchange; first: 2026-03-10 12:00 ")
    assert first[1].startswith("to do: nothing was appended; see both versions, and take the exchange's if it is")
    assert joined[0].startswith("exchange_refused: 2 series (ADAUSDT, BTCUSDT); first: the exchange refused: HTTP 400")
    assert joined[-2] == "still in trouble: mismatch: 1 series (ETHUSDT)"
    # The exchange itself was out of reach: that is a trouble of the pass, and of none of its series.
    assert back[0].startswith(
        "well again after 1 h 59 min, 2 failed cycles (exchange_unavailable); caught up to 2026-03-10"
    )


def test_a_ban_in_the_middle_of_a_pass_is_one_message(feeding: Feeding, webhook: Webhook) -> None:
    feeding.live(BANNED, count=3)
    feeding.live()
    assert webhook.titles == ["barfeed all 1h: exchange_blocked", "barfeed all 1h: well again"]
    assert webhook.posted[0]["message"].startswith("exchange_blocked: 5 series (ADAUSDT, BTCUSDT, DOGEUSDC, ETHUSDT,")


LATE = '[[fault]]\nkind = "late"\nsec = {}\nrows = 2\nsymbol = "ETHUSDT"\nuntil = 2026-03-10T16:00:00\n'


@pytest.mark.long
@pytest.mark.parametrize(("late_sec", "told"), [(40, 0), (400, 2)])
def test_a_watch_tells_what_is_late_once_one_series_alone_would_be(
    feeding: Feeding, webhook: Webhook, late_sec: int, told: int
) -> None:
    feeding.world.clock.go_to(TARGET_MS + hours(2))
    records = feeding.world.watch(1 + 12 * bool(told), LATE.format(late_sec), hear=feeding.alerts(patience_sec=120.0))
    assert records[0].status == "bar_late"
    assert webhook.titles == ["barfeed all 1h: bar_late", "barfeed all 1h: well again"][:told]


def test_a_bug_is_told(feeding: Feeding, webhook: Webhook) -> None:
    world = feeding.world
    feeding.alerts()(record_of(ZeroDivisionError("no bars"), world.feed, world.market), world.rest.conversation(1.0))
    assert webhook.titles == ["barfeed all 1h: bug"]


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[MarketMachine]:
    """A market that is started, an hour behind."""
    with market_machine(tmp_path, small_market(TARGET_MS + hours(40), 900), TARGET_MS + hours(1) + 30_000) as made:
        assert run(made, "--catch-up").code == 0
        made.clock.advance(hours(1))
        yield made


def run(machine: MarketMachine, *flags: str) -> Ran:
    return machine.call(machine.command(*flags))


@pytest.mark.long
def test_cron_tells_a_series_trouble_once_and_the_feed_goes_on_to_live(
    machine: MarketMachine, webhook: Webhook
) -> None:
    flags = ("--alert", webhook.channel, f"--heartbeat-url={webhook.url}")
    machine.exchange.faults = parse_faults(REVISED.replace("12:00", "13:00"), "the test")
    assert run(machine, *flags).code == 1
    # The others' windows were given to the models.
    assert (webhook.titles, len(webhook.called)) == (["barfeed all 1h: mismatch"], 1)
    machine.exchange.faults = parse_faults(DOWN, "the test")
    assert run(machine, *flags, "--max-wait-sec", "1").code == 3
    assert len(webhook.called) == 1
    machine.exchange.faults = ()
    good = run(machine, *flags)
    assert (good.code, len(webhook.called)) == (0, 2)
    assert webhook.titles[1:] == ["barfeed all 1h: exchange_unavailable", "barfeed all 1h: well again"]
    assert SECRET not in good.out + good.err


@pytest.mark.long
def test_the_heartbeat_of_several_intervals_is_one_and_of_all(tmp_path: Path, webhook: Webhook) -> None:
    tapes = small_market(TARGET_MS + hours(40), 900)
    four_hours = made_up_tape(TARGET_MS + hours(39), 400, "BTCUSDT", "4h")
    with market_machine(tmp_path, [*tapes, four_hours], TARGET_MS + hours(1) + 30_000) as machine:
        flags = ("--catch-up", "--intervals", "1h,4h", f"--heartbeat-url={webhook.url}")
        # Nobody else has a bar of four hours.
        some = machine.call(machine.command(*flags, "--max-wait-sec", "1", symbols="ETHUSDT"))
        assert (some.code, webhook.called) == (3, [])
        both = machine.call(machine.command(*flags, symbols="BTCUSDT"))
        assert (both.code, len(webhook.called)) == (0, 1)


@pytest.mark.long
def test_the_log_for_machines_tells_of_a_pass(machine: MarketMachine) -> None:
    done = run(machine, "--log-format", "json")
    (event,) = [each for each in map(json.loads, done.err.splitlines()) if each["event"] == "the cycle ended"]
    assert (event["series"], event["target"], event["status"]) == ("all 1h", "2026-03-10 14:00", "appended")
    assert event["counts"] == {"series": 5, "appended": 5, "bars": 5}

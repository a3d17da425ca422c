"""Days of trouble, hour by hour, and what people were told of them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.feed.cycle import record_of
from barfeed.history.verification import check_runs
from barfeed.machine import background
from barfeed.operate.alerts.channels import Channel, channels
from barfeed.operate.alerts.delivery import Alerts
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.operate.alerts.troubles import Message
from operate.alerts.webhook import SECRET, Webhook
from waiting import LONGEST_SEC, until
from world import World, hours, made_up_tape, ms

pytest.importorskip("apprise", reason="extra `alerts`")

# apprise looks at each of its plugins, and some use what Python is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TARGET_MS = ms(2024, 2, 10, 13)
DOWN = '[[fault]]\nkind = "status"\nstatus = 503\n'
BANNED = '[[fault]]\nkind = "status"\nstatus = 418\n'
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T12:00:00\nvolume = 1234.567\n'


class Feeding:
    """A feed that lives hour after hour and is heard of."""

    def __init__(self, world: World, *addresses: str) -> None:
        self.world = world
        self._addresses = addresses
        self._hour = 0

    def live(self, fault: str = "", off_sec: float = 0.0, count: int = 1, *, is_time_told: bool = False) -> None:
        """Hours with this fault. Each is heard of as by a process of its own: nothing is kept but files."""
        for _ in range(count):
            self.world.clock.go_to(TARGET_MS + hours(1 + self._hour) + 30_000)
            self.world.clock.off_sec = off_sec
            record = self.world.run(fault, catch_up=True)
            alerts = self.alerts()
            talk = self.world.rest.conversation(1)
            if is_time_told or not fault:
                talk.ask_time()
            alerts(record, talk)
            self._hour += 1

    def alerts(self) -> Alerts:
        feed = self.world.feed
        return Alerts(channels(self._addresses), LedgerFile(feed.folder), feed.clock, 5.0, LONGEST_SEC)


@pytest.fixture
def world(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path, [made_up_tape(TARGET_MS + hours(60), 1060)], TARGET_MS + 30_000)
    made.live_first_hour(tmp_path_factory.getbasetemp() / "before_the_storm")
    yield made
    assert SECRET not in "".join(path.read_text() for path in made.feed.folder.iterdir() if path.is_file())


@pytest.mark.long
def test_two_days_of_trouble_are_exactly_these_messages(world: World, webhook: Webhook) -> None:
    feeding = Feeding(world, webhook.channel)
    feeding.live(count=2)
    feeding.live(REVISED, count=3)
    feeding.live(count=2)
    feeding.live(DOWN, count=4)
    feeding.live(BANNED)
    feeding.live(DOWN, count=22)
    feeding.live()
    feeding.live(off_sec=600.0, count=2)
    feeding.live(count=2)
    told = [(each["type"], each["title"].removeprefix("barfeed BTCUSDT 1h: ")) for each in webhook.posted]
    assert told == [
        ("failure", "mismatch"),
        ("success", "well again"),
        ("failure", "exchange_unavailable"),
        ("failure", "exchange_blocked"),
        ("failure", "exchange_unavailable"),
        ("success", "well again"),
        ("warning", "clock_skew"),
        ("success", "well again"),
    ]
    said = [each["message"].splitlines() for each in webhook.posted]
    assert said[0][0] == (
        "BTCUSDT 1h: 1 of 5 stored bars differ from the exchange; first: 2024-02-10 12:00"
        f" volume stored {world.taped()[ms(2024, 2, 10, 12)].volume}, exchange 1234.567"
    )
    assert said[0][1].startswith("to do: ")
    assert said[1][0] == "well again after 3 h, 3 failed cycles (mismatch); caught up to 2024-02-10 18:00"
    assert said[4][0].startswith("still, after 1 d and 25 failed cycles: http://replay did not answer")
    assert said[5][0].startswith("well again after 1 d 3 h, 27 failed cycles (exchange_unavailable, exchange_blocked);")
    assert said[6][0] == "the machine's clock is 600.0 s ahead of the exchange's"
    assert said[7][0].startswith("well again after 2 h, 2 cycles (clock_skew)")


@pytest.mark.parametrize("off_sec", [-3 * 86_400.0, 3 * 86_400.0])
def test_a_machine_that_is_days_off_tells_a_trouble_once_though_the_exchange_tells_the_time_now_and_then(
    world: World, webhook: Webhook, off_sec: float
) -> None:
    feeding = Feeding(world, webhook.channel)
    for is_time_told in (False, True, False, True, False):
        feeding.live(DOWN, off_sec, is_time_told=is_time_told)
    feeding.live(off_sec=off_sec)
    assert [each.removeprefix("barfeed BTCUSDT 1h: ") for each in webhook.titles] == [
        "exchange_unavailable", "clock_skew", "well again",
    ]  # fmt: skip
    assert webhook.posted[-1]["message"].startswith(
        "well again after 4 h 58 min, 5 failed cycles (exchange_unavailable);"
    )


def hanging() -> int:
    """How many threads have not ended that tell the first channel."""
    return sum(each.name == "barfeed-channel 1 (json)" for each in threading.enumerate())


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Message]]:
    """What was given to channels that hang from now on, until the fixture `monkeypatch` is undone."""
    messages, over = list[Message](), threading.Event()

    def hang(_channel: Channel, message: Message) -> str:
        messages.append(message)
        over.wait()
        return "no answer"

    monkeypatch.setattr(Channel, "send", hang)
    yield messages
    over.set()


def test_a_watch_tells_the_end_though_a_channel_hangs_at_the_trouble(
    world: World, webhook: Webhook, held: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    alerts = Alerts(channels((webhook.channel,)), LedgerFile(world.feed.folder), world.clock, 5.0, 0.0)
    for hour in range(1, 9):
        world.clock.go_to(TARGET_MS + hours(hour) + 30_000)
        alerts(world.run(DOWN, catch_up=True), world.rest.conversation(1))
        until(lambda: hanging() == len(held))
    assert 1 < hanging() <= background.HANGING_MAX
    alerts = Alerts(channels((webhook.channel,)), LedgerFile(world.feed.folder), world.clock, 5.0, 0.0)
    alerts(world.run(DOWN, catch_up=True), world.rest.conversation(1))
    until(lambda: hanging() == len(held))
    monkeypatch.undo()
    world.clock.go_to(TARGET_MS + hours(9) + 30_000)
    alerts(world.run(catch_up=True), world.rest.conversation(1))
    webhook.wait_for(1)
    assert webhook.titles == ["barfeed BTCUSDT 1h: well again"]


def test_good_hours_leave_no_file(world: World, webhook: Webhook) -> None:
    Feeding(world, webhook.channel).live(count=3)
    assert [name for name in world.files() if "alert" in name] == []
    assert webhook.posted == []


@pytest.mark.long
def test_a_dead_channel_keeps_nothing_from_another_and_hears_when_it_is_back(
    world: World, webhook: Webhook, other_webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    feeding = Feeding(world, webhook.channel, other_webhook.channel)
    webhook.status = 500
    feeding.live(REVISED, count=3)
    assert (len(webhook.posted), webhook.refused, other_webhook.titles) == (0, 3, ["barfeed BTCUSDT 1h: mismatch"])
    warned = [each.getMessage() for each in caplog.records if each.name == "barfeed.operate.alerts.delivery"]
    assert warned == [
        "alert not delivered: channel 1 (json): it did not take the message; it is tried again after the next cycle"
    ]
    webhook.status = 200
    feeding.live(REVISED)
    assert webhook.titles == ["barfeed BTCUSDT 1h: mismatch"]
    feeding.live()
    assert webhook.titles == other_webhook.titles == ["barfeed BTCUSDT 1h: mismatch", "barfeed BTCUSDT 1h: well again"]


def test_a_channel_that_comes_back_after_the_trouble_hears_only_of_the_end(world: World, webhook: Webhook) -> None:
    feeding = Feeding(world, webhook.channel)
    webhook.status = 500
    feeding.live(REVISED, count=2)
    webhook.status = 200
    feeding.live()
    assert webhook.titles == ["barfeed BTCUSDT 1h: well again"]


def test_an_address_that_apprise_cannot_use_is_a_warning_without_the_address(
    world: World, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    Feeding(world, f"nosuch://{SECRET}", f"tgram://{SECRET}", webhook.channel).live(REVISED)
    warned = [each.getMessage() for each in caplog.records if each.name == "barfeed.operate.alerts.delivery"]
    assert sorted(each.partition(": ")[2].partition(";")[0] for each in warned) == [
        "channel 1 (nosuch): apprise cannot use its address",
        "channel 2 (tgram): apprise cannot use its address",
    ]
    assert len(webhook.posted) == 1


def test_a_plugin_that_raises_is_a_warning_without_what_it_says(
    world: World, webhook: Webhook, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    feeding = Feeding(world, webhook.channel)
    monkeypatch.setattr("apprise.Apprise.notify", fail)
    feeding.live(REVISED)
    assert "channel 1 (json): apprise failed with RuntimeError; it is tried again" in caplog.text
    assert SECRET not in caplog.text
    monkeypatch.undo()
    feeding.live(REVISED)
    assert webhook.titles == ["barfeed BTCUSDT 1h: mismatch"]


def test_verify_and_prune_have_nothing_to_say_of_the_files(world: World, webhook: Webhook) -> None:
    Feeding(world, webhook.channel).live(REVISED)
    folder = world.feed.folder
    assert (folder / "alerts.json").exists()
    done = prune(folder, world.clock.now_ms + hours(24 * 100), Keep(1, discard=True))
    assert (done.left, (folder / "alerts.json").exists()) == ((), True)
    assert list(check_runs(folder).findings) == []


def test_a_bug_is_told_as_one(world: World, webhook: Webhook) -> None:
    record = record_of(ZeroDivisionError("no bars"), world.feed, world.order)
    Feeding(world, webhook.channel).alerts()(record, world.rest.conversation(1))
    assert webhook.titles == ["barfeed BTCUSDT 1h: bug"]
    assert webhook.posted[0]["message"].startswith(
        "ZeroDivisionError: no bars\nto do: run it again with --debug and report"
    )

"""What hears how a cycle ended and tells people: alerts, and the heartbeat. Neither holds up a cycle, or breaks one."""

import logging
from collections.abc import Sequence
from functools import partial

from barfeed.domain.errors import BarfeedError
from barfeed.exchange.refusals import TryAgain
from barfeed.exchange.rest import Conversation
from barfeed.exchange.transport.single import Transport
from barfeed.feed.record import Lived
from barfeed.machine.background import BackgroundTask
from barfeed.machine.clock import Clock, Patience
from barfeed.operate.alerts import crowd, troubles
from barfeed.operate.alerts.channels import Channel
from barfeed.operate.alerts.hearing import crowds, heard
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.operate.alerts.troubles import Ledger, Letter, Message

HEARTBEAT_TIMEOUT_SEC = 5.0
# What a single run, whose line is printed, still waits for channels; and a watch that is asked to stop.
ALERT_WAIT_SEC = 10.0
LAST_CHANCE_SEC = 3.0

_log = logging.getLogger(__name__)


class Alerts:
    """Tells trouble and its end to every channel. Waits for them `wait_sec` after each cycle; a watch not at all.

    What time may mend of one of many series is told once its bar has been waited for `patience_sec`.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        ledger: LedgerFile,
        clock: Clock,
        max_skew_sec: float,
        wait_sec: float,
        *,
        patience_sec: float = 0.0,
    ) -> None:
        self._channels = {channel: BackgroundTask(channel.name, clock) for channel in channels}
        self._ledger = ledger
        self._clock = clock
        self._max_skew_sec = max_skew_sec
        self._wait_sec = wait_sec
        self._patience_sec = patience_sec

    def __call__(self, record: Lived, talk: Conversation) -> None:
        """Hear of a cycle, or of a pass."""
        told, many = heard(record, talk, self._max_skew_sec), crowds(record, talk, self._patience_sec)
        of_many = (each for some in many for each in some.heard)
        if self._ledger.read().is_empty and not any(each.status for each in (*told, *of_many)):
            # So are most hours.
            return
        names = [channel.name for channel in self._channels]
        exchange_ms = talk.now_ms if talk.time else None

        def note(ledger: Ledger) -> tuple[None, Ledger]:
            ledger, now_ms = troubles.by_the_exchange(ledger, self._clock.utc_ms(), exchange_ms)
            ledger = troubles.note(ledger, told, names, now_ms)
            for some in many:
                ledger = crowd.note(ledger, some, names, now_ms)
            return None, ledger

        self._ledger.change(note)
        self._deliver(self._wait_sec)

    def close(self) -> None:
        """One last chance for what is not delivered."""
        self._deliver(LAST_CHANCE_SEC)

    def _deliver(self, wait_sec: float) -> None:
        if not self._ledger.read().letters:
            return
        for channel, task in self._channels.items():
            task.start(partial(self._send, channel))
        patience = Patience(self._clock, wait_sec)
        for channel, task in self._channels.items() if wait_sec else ():
            task.wait(patience.left_sec)
            if task.is_busy:
                self._warn_of_silence(channel, wait_sec)

    def _send(self, channel: Channel) -> None:
        letters = self._ledger.change(lambda ledger: troubles.take(ledger, channel.name, self._clock.utc_ms()))
        for letter in letters:
            self._send_letter(channel, letter)

    def _send_letter(self, channel: Channel, letter: Letter) -> None:
        why = channel.send(letter.message)
        if why:
            _warn(channel, why, first=letter.tries == 1)
        self._ledger.change(lambda ledger: (None, troubles.settle(ledger, letter, delivered=not why)))

    def _warn_of_silence(self, channel: Channel, wait_sec: float) -> None:
        tries = [each.tries for each in self._ledger.read().letters if each.channel == channel.name]
        _warn(channel, f"no answer in {wait_sec:g} s", first=any(each <= 1 for each in tries))


def try_out(channels: Sequence[Channel], series: str, clock: Clock, wait_sec: float) -> dict[str, str]:
    """Send a test message to all channels at once; by name, why it was not taken, or nothing where it was."""
    message = Message("cycle", "success", f"barfeed {series}: test", "barfeed can reach you here", clock.utc_ms())
    answers = {channel.name: f"no answer in {wait_sec:g} s" for channel in channels}
    patience = Patience(clock, wait_sec)
    tasks = [BackgroundTask(channel.name, clock) for channel in channels]
    for channel, task in zip(channels, tasks, strict=True):
        task.start(lambda channel=channel: answers.update({channel.name: channel.send(message)}))  # type: ignore[misc] # bound now
    for task in tasks:
        task.wait(patience.left_sec)
    return dict(answers)


def _warn(channel: Channel, why: str, *, first: bool) -> None:
    # Once for each message: a channel that is dead for a week is no news every hour.
    _log.log(
        logging.WARNING if first else logging.DEBUG,
        "alert not delivered: %s: %s; it is tried again after the next cycle",
        channel.name,
        why,
    )


class Heartbeat:
    """Calls an address after each cycle that ended well, so that somebody hears when none does.

    Of several intervals each must have ended well, the last time that it was lived: `feeds` is how many there are.
    """

    def __init__(self, url: str, transport: Transport, clock: Clock, wait_sec: float, feeds: int = 1) -> None:
        self._url = url
        self._feeds = feeds
        self._well: set[str] = set()
        self._transport = transport
        self._wait_sec = wait_sec
        self._task = BackgroundTask("heartbeat", clock)

    def __call__(self, record: Lived, _talk: Conversation) -> None:
        """Hear of a cycle."""
        self._well = {*self._well, record.fed} if record.is_of_use else self._well - {record.fed}
        if record.is_of_use and len(self._well) == self._feeds:
            self._task.start(self._beat)
            self._task.wait(self._wait_sec)
            if self._wait_sec and self._task.is_busy:
                _log.warning("the heartbeat was not taken: no answer in %g s", self._wait_sec)

    def _beat(self) -> None:
        why = self._call()
        if why and (why := self._call()):
            _log.warning("the heartbeat was not taken: %s", why)

    def _call(self) -> str:
        # Never the error's own text: it may hold the address.
        try:
            status = self._transport(self._url, HEARTBEAT_TIMEOUT_SEC).status
        except TryAgain as fault:
            return fault.reason
        except BarfeedError as problem:
            return problem.status
        return "" if 200 <= status < 300 else f"HTTP {status}"  # noqa: PLR2004 - what HTTP calls a success

"""A month of one feed: an exchange whose clock and weather the test makes, and a ledger of what must come of it."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb

from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Reply, Request
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.stream.session import LIFE_MS, Session
from barfeed.replay.tapes.tape import Tape
from operate.alerts.webhook import Webhook
from operate.metrics.metering_world import get, samples
from operate.metrics.prometheus import free_port
from process import Machine
from proof.month.ledger import Ledger
from world import BTCUSDT_1H, hours, made_up_bars, ms, written

FIRST_MS = ms(2024, 2, 10, 13)
TABLE = "ohlcv_btcusdt_1h"
MINUTE_MS = 60_000
# How long after a close the feed begins: when its frame comes, and without it.
HEARD_MS, SETTLED_MS = 5, 10_500
KLINES = "/fapi/v1/klines"
# Four days back nothing is due: the feed looks and waits.
HELD = parse_faults('[[fault]]\nkind = "skew"\nms = -360000000', "the test")
COUNTERS = ("bars_appended", "mismatches", "gaps", "cycles", "refusals", "retries", "revisions", "stream_closes")
FLAGS = (
    "--watch", "--stream", "--catch-up", "--json", "--log-format", "json", "--sleep-sec", "0.05",
    "--lock-timeout-sec", "0.3",
)  # fmt: skip


class Gate(ReplayExchange):
    """An exchange whose weather lasts until so many cycles have ended; then nothing is due until it is let go on."""

    def __init__(self, tape: Tape, clock: HandClock, ended: Callable[[], int]) -> None:
        super().__init__([tape], clock.now_ms)
        self.opened_ms: list[int] = []
        self.holds_at: int | None = None
        self._clock = clock
        self._ended = ended
        self._turn = Lock()

    @property
    def is_held(self) -> bool:
        return self.faults is HELD

    def handle(self, request: Request) -> Reply:
        # Each look begins with this question, and the line of a cycle is printed before the next look.
        with self._turn:
            if self.holds_at is not None and request.path.endswith("/time") and self._ended() >= self.holds_at:
                self.faults = HELD
        return super().handle(request)

    def let_go(self) -> None:
        """Hold no more, not even by a question that is just being answered."""
        with self._turn:
            self.holds_at = None

    def open(self, request: Request) -> Session | Reply:
        answer = super().open(request)
        if isinstance(answer, Session):
            self.opened_ms.append(self._clock.now_ms())
        return answer


class Month:
    """The feed, lived hour by hour; whatever is done here is in the ledger first."""

    def __init__(self, folder: Path, webhook: Webhook, bars: int, max_wait_sec: int) -> None:
        self.bars = made_up_bars(FIRST_MS + hours(bars), bars + 1000)
        self.clock = HandClock(FIRST_MS + hours(1) + 30_000)
        self.tape = Tape.of(BTCUSDT_1H, self.bars)
        self.exchange = Gate(self.tape, self.clock, self.ended)
        self.webhook = webhook
        self.ledger = Ledger()
        self.target_ms = FIRST_MS
        self.standing = ""
        self.heard = self.settled = 0
        self.folder = folder
        self.max_wait_sec = max_wait_sec
        self.out, self.log = folder / "cycles.jsonl", folder / "log.jsonl"
        self.port = free_port()
        self._opened = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._server = ReplayServer(self.exchange, streams=self.exchange)
        self.machine = Machine(folder, self.exchange, self.clock, "")

    @contextmanager
    def begun(self) -> Iterator["Month"]:
        with self._server as server:
            self.machine.url = server.url
            try:
                self.start()
                self.ledger.good(726)
                self.settle()
                yield self
            finally:
                self.kill()

    def start(self) -> None:
        hurried = [sys.executable, str(Path(__file__).with_name("hurried.py"))]
        waits = ("--max-wait-sec", str(self.max_wait_sec))
        told = ("--alert", self.webhook.channel, "--heartbeat-url", self.webhook.url)
        listen = ("--listen", f"127.0.0.1:{self.port}", "--metrics-file", str(self.folder / "feed.prom"))
        flags = self.machine.command(*FLAGS, *waits, "--stream-url", self._server.stream_url, *told, *listen)[2:]
        self._opened = len(self.exchange.opened_ms)
        with self.out.open("ab") as out, self.log.open("ab") as log:
            environment = self.machine.environment()
            self._process = subprocess.Popen([*hurried, *flags], env=environment, stdout=out, stderr=log)
        self.until("it follows the stream", lambda: self.followed() > 0)

    def followed(self) -> int:
        """How many connections to the stream this process has had."""
        return len(self.exchange.opened_ms) - self._opened

    def kill(self) -> None:
        """As the kernel does where memory is short."""
        if self._process:
            self._process.kill()
            self._process.wait(60)

    def ended(self) -> int:
        return self.out.read_bytes().count(b"\n") if self.out.exists() else 0

    def until(self, what: str, is_so: Callable[[], bool], sec: float = 60.0) -> None:
        end = time.monotonic() + sec
        while not is_so():
            assert self._process is None or self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < end, f"{what}: not within {sec} s: {self.told()}\n{self.log.read_text()[-2000:]}"
            time.sleep(0.005)

    def told(self) -> str:
        seen = (self.ended(), len(self.webhook.called), len(self.webhook.posted))
        return f"{seen}, not {(len(self.ledger.ended), self.ledger.beats, len(self.ledger.messages))}"

    def settle(self) -> None:
        """Until all that is due has come; `check` finds what is more."""
        self.until("cycles", lambda: self.ended() >= len(self.ledger.ended))
        self.until("heartbeats", lambda: len(self.webhook.called) >= self.ledger.beats)
        self.until("messages", lambda: len(self.webhook.posted) >= len(self.ledger.messages))

    def weather(self, fault: str = "") -> None:
        self.exchange.requests.clear()
        self.exchange.faults = parse_faults(f"{fault}\n{self.standing}", "the test")

    def good(self, fault: str = "", *, closes: int = 1, after_ms: int = HEARD_MS, **retries: int) -> None:
        """An hour that is lived well, whatever the weather: at its closing frame, or once it is settled."""
        self._await_stream()
        self.weather(fault)
        self.target_ms += hours(1)
        self.ledger.good(**retries)
        self.ledger.closes += closes
        self.clock.set(self.target_ms + hours(1) + after_ms)
        self.settle()
        self.heard += after_ms == HEARD_MS
        self.settled += after_ms == SETTLED_MS

    def calm(self, count: int) -> None:
        for _ in range(count):
            self.good()

    def trouble(
        self,
        fault: str,
        status: str,
        *,
        cycles: int = 1,
        after_ms: int = 20 * MINUTE_MS,
        retried: str = "",
        **seen: int,
    ) -> None:
        """An hour of so many cycles that fail; then the feed is held, and its health looked at.

        With `retried`, each request for bars is one, or each but the last of a cycle where the bar is only `late`.
        """
        self._await_stream()
        self.weather(fault)
        self.exchange.holds_at = self.ended() + cycles
        self.target_ms += hours(1)
        self.ledger.bad(status, cycles, **seen)
        self.ledger.closes += 1
        self.clock.set(self.target_ms + hours(1) + after_ms)
        self.until("the feed is held", lambda: self.exchange.is_held)
        if retried:
            asked = self.exchange.requests[KLINES]
            self.ledger.retries[retried] += asked - cycles if retried == "late" else asked

    def look(self, after_ms: int = 20 * MINUTE_MS) -> None:
        """Ask a feed in trouble how it is: as far behind as the exchange's clock says."""
        self.settle()
        says, health = self.says(), self.health()
        assert after_ms / 1000 <= says["barfeed_lag_seconds"] < after_ms / 1000 + MINUTE_MS / 1000
        assert (health[0], bool(health[1]["last_failure"])) == (503 if after_ms > 5 * MINUTE_MS else 200, True)
        self.check()

    def over(self, appended: int = 1) -> None:
        """The trouble is over: the feed goes on, and lives the hour."""
        self.ledger.good(appended)
        self.exchange.let_go()
        self.weather()
        self.settle()

    def still(self, fault: str, status: str) -> None:
        """The trouble lasts for another hour, and a cycle of it."""
        self._await_stream()
        self.target_ms += hours(1)
        self.clock.set(self.target_ms + hours(1) + MINUTE_MS)
        self.ledger.closes += 1
        self.ledger.bad(status)
        self.exchange.holds_at = self.ended() + 1
        self.weather(fault)
        self.until("the feed is held again", lambda: self.exchange.is_held)

    def outage(self, lost: int, *, down: Callable[[], None] = lambda: None) -> None:
        """Killed, and started again after so many hours: it catches up by itself."""
        # Killed between a cycle and its count, its count is lost.
        file = self.folder / "feed.prom"
        self.until("the file", lambda: _counted(samples(file.read_text())) == self.ledger.says())
        self.kill()
        self._process = None
        # What comes of the stream, each process counts for itself.
        self.ledger.closes = 0
        down()
        self.weather()
        self.target_ms += hours(lost)
        self.clock.set(self.target_ms + hours(1) + 30_000)
        self.ledger.good(lost)
        self.start()
        self.settle()

    def repair(self, fault: str = "") -> None:
        """As an operator does, while the feed is held: of an exchange that says what it says from now on."""
        self.standing += fault
        bench = ReplayExchange([self.tape], self.clock.now_ms, parse_faults(self.standing, "the test"))
        with ReplayServer(bench) as server:
            command = [sys.executable, "-m", "barfeed", "repair", "--yes", "--duckdb", str(self.machine.duckdb)]
            ran = self.machine.call([*command, "--base-url", server.url])
        assert ran.code == 0, ran

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(self.machine.duckdb) as connection:
            return connection.execute(statement).fetchall()

    def bar(self, back: int) -> str:
        """The bar so many before the newest that is lived."""
        return written(self.target_ms - hours(back))

    def says(self) -> dict[str, float]:
        return samples(get(f"http://127.0.0.1:{self.port}/metrics").body)

    def counted(self) -> dict[str, float]:
        """What the metrics have counted, those at zero left out."""
        return _counted(self.says())

    def health(self) -> tuple[int, dict[str, Any]]:
        answer = get(f"http://127.0.0.1:{self.port}/healthz")
        return answer.status, json.loads(answer.body)

    def check(self) -> None:
        """Everything that was told, against the ledger: no less and no more."""
        # The meter hears of a cycle last.
        with suppress(AssertionError):
            self.until("the metrics", lambda: self.counted() == self.ledger.says(), 5.0)
        said, known = self.counted(), self.ledger.says()
        assert said == known, sorted(said.items() ^ known.items())
        assert [json.loads(line)["status"] for line in self.out.read_text().splitlines()] == self.ledger.ended
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        assert [each["status"] for each in events if each["event"] == "the cycle ended"] == self.ledger.ended
        assert not [each for each in events if "bug" in each["event"] or "exception" in each]
        assert len(self.webhook.called) == self.ledger.beats
        told = [(each["type"], each["title"].removeprefix("barfeed BTCUSDT 1h: ")) for each in self.webhook.posted]
        assert told == [(each.kind, each.title) for each in self.ledger.messages]
        for posted, due in zip(self.webhook.posted, self.ledger.messages, strict=True):
            assert re.match(due.says, posted["message"]), (posted, due)

    def _await_stream(self) -> None:
        # The exchange cuts a connection that is a day old.
        known = self.exchange.opened_ms
        if self.clock.now_ms() - known[-1] >= LIFE_MS:
            count = len(known)
            self.until("the stream is followed anew", lambda: len(self.exchange.opened_ms) > count)


def _counted(said: dict[str, float]) -> dict[str, float]:
    wanted = {f"barfeed_{each}_total" for each in COUNTERS}
    return {name: value for name, value in said.items() if value and name.partition("{")[0] in wanted}

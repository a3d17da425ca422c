"""`--watch --stream` as a process, against an exchange whose clock the test turns: each hour once, right, and in time.

The clock stands where it was last set: a cycle that starts five milliseconds after a close was started by a frame,
one that starts ten seconds after it by the clock.
"""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from barfeed.cli.settings import Settings
from barfeed.domain.errors import UsageError
from barfeed.replay.faults.script import KINDS, STREAM, parse_faults
from process import Machine, machine
from world import hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)


class Listening:
    """A watch that has lived its first hour, and hears the stream."""

    def __init__(self, feeding: Machine, process: "subprocess.Popen[str]", log: Path) -> None:
        self.feeding = feeding
        self.process = process
        self.log = log

    def until(self, happened: Any, sec: float = 60.0) -> None:
        end = time.monotonic() + sec
        while not happened():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.feeding.artifacts.glob("*_run.json"))]

    def reach(self, hour: int, ms_after: int) -> None:
        """The clock comes near the close of the bar `hour` hours after the first, is looked at, and passes it."""
        clock = self.feeding.clock
        looks = self.feeding.exchange.requests["/fapi/v1/time"]
        clock.set(TARGET_MS + hours(hour + 1) - 500)
        self.until(lambda: self.feeding.exchange.requests["/fapi/v1/time"] >= looks + 2)
        clock.set(TARGET_MS + hours(hour + 1) + ms_after)

    def lived(self, count: int) -> list[tuple[str, str, str]]:
        """Status, target and the exchange's time of each cycle, to ten seconds, once there are so many.

        The exchange's clock stands, but a feed carries its last word on, and a busy machine takes its time.
        """
        self.until(lambda: len(self.manifests()) >= count)
        # Any one more would come within a look or two.
        looks = self.feeding.exchange.requests["/fapi/v1/time"]
        self.until(lambda: self.feeding.exchange.requests["/fapi/v1/time"] >= looks + 3)
        return [(each["status"], each["target"][11:], f"{each['run_time'][9:14]}0Z") for each in self.manifests()]


@contextmanager
def listening(
    folder: Path, fault: str = "", *flags: str, stream_url: str = "", connected: bool = True
) -> Iterator[Listening]:
    log = folder / "watch.log"
    with machine(folder, TARGET_MS) as feeding, log.open("w") as said:
        feeding.exchange.faults = parse_faults(fault, "the test")
        stream = stream_url or feeding.url.replace("http", "ws", 1) + "/market"
        command = feeding.command(
            "--watch", "--stream", "--catch-up", "--sleep-sec", "0.1", "--stream-url", stream, *flags
        )
        process = subprocess.Popen(command, env=feeding.environment(), stdout=said, stderr=said, text=True)
        watch = Listening(feeding, process, log)
        try:
            watch.until(watch.manifests)
            watch.until(lambda: feeding.exchange.connections or not connected)
            yield watch
        finally:
            process.terminate()
            assert process.wait(60) == 0
    assert "Traceback" not in log.read_text()


FIRST = ("appended", "13:00", "140030Z")
HEARD = ("appended", "14:00", "150000Z")
SETTLED = ("appended", "14:00", "150010Z")


@pytest.mark.long
def test_each_hour_is_lived_at_its_closing_frame(tmp_path: Path) -> None:
    with listening(tmp_path) as watch:
        for hour in range(1, 4):
            watch.reach(hour, 5)
            watch.until(lambda hour=hour: len(watch.manifests()) > hour)
        lived = watch.lived(4)
        assert lived == [FIRST, HEARD, ("appended", "15:00", "160000Z"), ("appended", "16:00", "170000Z")]
        newest = (watch.feeding.artifacts / "latest_for_inference.csv").read_text().splitlines()[-1]
    bar = made_up_bars(TARGET_MS + hours(400), 1400)[-398]
    assert newest.split(",")[0] == "2024-02-10 16:00:00"
    assert [float(cell) for cell in newest.split(",")[1:]] == list(bar.values)
    assert "WARNING" not in watch.log.read_text()


def frame_of(open_time_ms: int, symbol: str = "BTCUSDT") -> str:
    """A closing frame instead of every other."""
    text = f'{{"e":"kline","k":{{"t":{open_time_ms},"s":"{symbol}","i":"1h","x":true}}}}'
    return f"kind = \"garbage\"\ntext = '{text}'"


# What keeps a bar's closing frame from being heard, or hides it behind what is none.
UNHEARD = {
    "missing": 'kind = "no_close"',
    "late": 'kind = "late_close"\nms = 60000',
    "silence": 'kind = "silence"\nfrom = 2024-02-10T14:59:00',
    "deep": 'kind = "garbage"\ntext = "["\ntimes = 30000',
    "binary": 'kind = "garbage"\ntext = "\\u0000\\u0001"\nbinary = true',
    "foreign": frame_of(TARGET_MS + hours(1), "ETHUSDT"),
    "older bar": frame_of(TARGET_MS),
    "bar to come": frame_of(TARGET_MS + hours(2)),
    "huge": 'kind = "garbage"\ntext = "x"\ntimes = 200000',
    "disconnect": 'kind = "disconnect"\nfrom = 2024-02-10T14:59:00',
}
DOUBLE = 'kind = "double_close"'
DOWN = {"refused": 'kind = "refuse"\nstatus = 451', "cut": 'kind = "disconnect"'}


def test_no_kind_of_the_streams_faults_is_left_out() -> None:
    lived = {re.findall(r'^kind = "(\w+)"', fault)[0] for fault in [*UNHEARD.values(), DOUBLE, *DOWN.values()]}
    assert lived == {name for name, kind in KINDS.items() if kind.path == STREAM}


@pytest.mark.parametrize("fault", UNHEARD.values(), ids=UNHEARD)
@pytest.mark.long
def test_without_the_closing_frame_the_clock_starts_the_cycle_once_it_is_settled(tmp_path: Path, fault: str) -> None:
    with listening(tmp_path, f"[[fault]]\n{fault}\nuntil = 2024-02-10T15:30:00") as watch:
        watch.reach(1, 5)
        assert watch.lived(1) == [FIRST]
        watch.feeding.clock.set(TARGET_MS + hours(2) + 5_000)
        assert watch.lived(1) == [FIRST]
        watch.feeding.clock.set(TARGET_MS + hours(2) + 10_000)
        assert watch.lived(2) == [FIRST, SETTLED]


@pytest.mark.long
def test_a_closing_frame_that_comes_twice_is_lived_once(tmp_path: Path) -> None:
    with listening(tmp_path, f"[[fault]]\n{DOUBLE}") as watch:
        watch.reach(1, 5)
        assert watch.lived(2) == [FIRST, HEARD]
        pulls = watch.feeding.exchange.requests["/fapi/v1/klines"]
        watch.feeding.clock.advance(60_000)
        assert watch.lived(2) == [FIRST, HEARD]
        assert watch.feeding.exchange.requests["/fapi/v1/klines"] == pulls


@pytest.mark.long
@pytest.mark.parametrize("fault", DOWN.values(), ids=DOWN)
def test_a_stream_that_is_down_from_the_start_is_told_once_and_the_clock_is_enough(tmp_path: Path, fault: str) -> None:
    with listening(tmp_path, f"[[fault]]\n{fault}") as watch:
        watch.reach(1, 10_000)
        assert watch.lived(2) == [FIRST, SETTLED]
    assert watch.log.read_text().count("WARNING the stream ws://") == 1


@pytest.mark.long
def test_where_nobody_streams_the_clock_is_enough(tmp_path: Path, deaf: str) -> None:
    with listening(tmp_path, stream_url=f"ws://{deaf}", connected=False) as watch:
        watch.reach(1, 10_000)
        assert watch.lived(2) == [FIRST, SETTLED]
    assert watch.log.read_text().count("ConnectionRefusedError") == 1


@pytest.mark.long
def test_a_heard_bar_that_must_be_said_twice_is_appended_when_it_was(tmp_path: Path) -> None:
    with listening(tmp_path, "", "--confirm-reads", "2", "--settle-sec", "1") as watch:
        watch.reach(1, 5)
        assert watch.lived(2) == [FIRST, HEARD]
        assert watch.manifests()[-1]["durations_sec"]["confirm"] >= 1.0


def test_a_stream_without_a_watch_is_wrong_usage(tmp_path: Path) -> None:
    with machine(tmp_path, TARGET_MS) as feeding:
        ran = feeding.feed("--stream", "--stream-url", "ws://127.0.0.1:9")
    assert (ran.code, ran.out) == (2, "")
    assert "--stream is of no use without --watch" in ran.err


def test_the_stream_of_another_exchange_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"is not the stream of --base-url http://127.0.0.1:8080") as told:
        Settings(stream=True, watch=True, base_url="http://127.0.0.1:8080").series()
    assert "ws://127.0.0.1:8080/market" in told.value.hint
    Settings(stream=True, watch=True, base_url="http://127.0.0.1:8080", stream_url="ws://127.0.0.1:8080").series()
    Settings(stream=True, watch=True).series()


@pytest.mark.parametrize("url", ["https://x", "ws://x?y=z", "ws://", "ws://x:0", "", "x"])
def test_an_address_that_is_none_of_a_stream_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError, match=r"--stream-url .* is not an address like wss://fstream.binance.com/market"):
        Settings(stream_url=url).series()


def test_an_address_with_a_password_is_refused_without_it() -> None:
    with pytest.raises(UsageError, match=r"^--stream-url holds a '@'") as told:
        Settings(stream_url="wss://user:secret@x").series()
    assert "secret" not in f"{told.value} {told.value.hint}"

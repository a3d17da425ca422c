import json

import msgspec
import pytest

from barfeed.artifacts.writing import Written
from barfeed.domain.bars import Series
from barfeed.domain.errors import ExchangeUnavailable, Mismatch
from barfeed.domain.rules import Finding
from barfeed.exchange.refusals import Answer
from barfeed.exchange.rest import Conversation, Rest
from barfeed.feed.record import Record
from barfeed.store.duckdb import Coverage

# 2024-02-10 13:00 UTC.
TARGET = 1_707_570_000_000


class SleptClock:
    """Moves only when slept on; by its wall clock it is 14:00:12."""

    def __init__(self) -> None:
        self.now_sec = 0.0

    def steady_sec(self) -> float:
        return self.now_sec

    def utc_ms(self) -> int:
        return TARGET + 3_612_000

    def sleep(self, sec: float) -> None:
        self.now_sec += sec


def record(dataset: str = "BINANCE_BTCUSDT.P, 60", *, dry_run: bool = False) -> Record:
    return Record(Series.of("BTCUSDT", "1h"), dataset, "db", SleptClock(), dry_run=dry_run)


def talk() -> Conversation:
    def transport(_url: str, _left_sec: float) -> Answer:
        return Answer(200, {"x-mbx-used-weight-1m": "2"}, b'{"serverTime":%d}' % (TARGET + 3_610_000))

    return Rest("http://exchange", transport, SleptClock()).conversation(10.0)


def lived() -> Record:
    """A normal hour."""
    done = record()
    done.now_ms, done.target_ms = TARGET + 3_610_000, TARGET
    done.run_time = "20240210_140010Z"
    done.pull = Written("pull.csv", "aa", 6)
    done.inference = Written("inference.csv", "bb", 726)
    done.validated, done.appended = 5, 1
    done.coverage = Coverage(38805, 1_567_962_000_000, TARGET)
    with done.step("time"):
        done.clock.sleep(0.1)
    with done.step("store"):
        done.clock.sleep(0.21)
    return done


def test_the_line_tells_a_normal_hour_in_one_breath() -> None:
    assert lived().line() == (
        "pulled=6 validated=5 appended=1 target=2024-02-10 13:00"
        " coverage=2019-09-08 17:00..2024-02-10 13:00 rows=38805 inference=inference.csv 0.31 s"
    )


def test_the_line_of_a_failure_begins_with_it() -> None:
    failed = record()
    failed.fail(ExchangeUnavailable("no answer", retry_after_sec=7.0))
    assert failed.line() == ("failed=exchange_unavailable exit=3 pulled=0 validated=0 appended=0 inference=none 0.00 s")
    assert failed.failure is not None
    assert failed.failure.retry_after_sec == 7.0


def test_a_dry_run_tells_what_it_would_append() -> None:
    dry = record(dry_run=True)
    dry.would_append = 3
    assert dry.line().startswith("pulled=0 validated=0 would_append=3 ")
    assert (dry.status, dry.exit_code) == ("dry_run", 0)


def test_the_status_is_appended_or_up_to_date_or_the_errors_name() -> None:
    assert (record().status, record().exit_code) == ("up_to_date", 0)
    assert (lived().status, lived().exit_code) == ("appended", 0)
    failed = lived()
    failed.fail(Mismatch("they differ"))
    assert (failed.status, failed.exit_code) == ("mismatch", 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug")])
def test_what_is_not_ours_is_an_interruption(error: BaseException) -> None:
    failed = record()
    failed.fail(error)
    assert (failed.status, failed.exit_code) == ("interrupted", 70)
    assert failed.failure is not None
    assert type(error).__name__ in failed.failure.message


def test_the_manifest_keeps_every_fact() -> None:
    conversation = talk()
    conversation.ask_time()
    seen = lived().manifest(conversation)
    assert json.loads(msgspec.json.encode(seen)) == json.loads(json.dumps(seen)) == seen
    assert seen["series"] == {"symbol": "BTCUSDT", "interval": "1h"}
    assert (seen["run_time"], seen["status"], seen["exit_code"]) == ("20240210_140010Z", "appended", 0)
    assert seen["target"] == "2024-02-10 13:00"
    assert seen["exchange"] == {
        "base_url": "http://exchange",
        "time": "2024-02-10 14:00:10",
        "skew_sec": 2.0,
        "requests": 1,
        "retries": {},
        "used_weight": 2,
    }
    assert seen["counts"] == {"pulled": 6, "validated": 5, "appended": 1, "pending": 0, "would_append": 0}
    assert seen["coverage"] == {"rows": 38805, "first": "2019-09-08 17:00", "last": "2024-02-10 13:00"}
    assert seen["files"] == {
        "api_pull": {"file": "pull.csv", "sha256": "aa", "rows": 6},
        "for_inference": {"file": "inference.csv", "sha256": "bb", "rows": 726},
    }
    assert seen["durations_sec"] == {"time": 0.1, "store": 0.21, "total": 0.31}


def test_the_manifest_keeps_every_finding_with_both_values() -> None:
    failed = record()
    findings = [Finding("mismatch", TARGET, "volume differs", {"volume": 1203.4}, {"volume": 1203.9})]
    failed.fail(Mismatch("1 of 5 differ", hint="look", findings=findings))
    seen = failed.manifest(talk())
    assert (seen["message"], seen["hint"], seen["exit_code"]) == ("1 of 5 differ", "look", 1)
    assert seen["findings"] == [
        {
            "bar": "2024-02-10 13:00",
            "rule": "mismatch",
            "message": "volume differs",
            "stored": {"volume": 1203.4},
            "exchange": {"volume": 1203.9},
        }
    ]
    assert seen["exchange"]["time"] is None


def test_the_time_of_a_step_that_fails_is_kept() -> None:
    failed = record()

    def fail() -> None:
        with failed.step("pull"):
            failed.clock.sleep(1.5)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert failed.durations_sec == {"pull": 1.5}


def test_a_stored_null_in_a_finding_is_json() -> None:
    failed = record()
    failed.fail(Mismatch("x", findings=[Finding("mismatch", TARGET, "x", {"open": float("nan")}, {"open": 1.0})]))
    json.dumps(failed.manifest(talk()), allow_nan=False)

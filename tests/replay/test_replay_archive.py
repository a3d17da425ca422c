"""What the archive keeps beside klines: each kind's files, the changed label, and the holes that the public one has."""

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pytest

from barfeed.domain.kinds.table import METRICS_CHANGED_MS
from barfeed.replay.archive.service import ReplayArchive
from barfeed.replay.archive.tables import METRICS_HEADER
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import HOUR, MINUTE

DAY = 24 * HOUR
CHANGED = METRICS_CHANGED_MS
NOW = CHANGED + 12 * DAY
BEFORE, SINCE = "2026-06-24", "2026-06-25"


@lru_cache
def _tapes() -> list[Tape]:
    return [generate("BTCUSDT", "1h", CHANGED - 60 * DAY, 80 * 24, seed=5)]


def _body(path: str, faults: str = "") -> bytes | None:
    archive = ReplayArchive(_tapes(), HandClock(NOW).now_ms, parse_archive_faults(faults, "test.toml"))
    answer, checksum = (archive.handle(Request("GET", f"/data/{path}{end}", "", {})) for end in ("", ".CHECKSUM"))
    assert answer.status == checksum.status
    if answer.status != 200:
        return None
    assert checksum.body.split()[0].decode() == hashlib.sha256(answer.body).hexdigest()
    return answer.body


def _lines(path: str, faults: str = "") -> list[list[str]]:
    body = _body(path, faults)
    assert body is not None
    with zipfile.ZipFile(io.BytesIO(body)) as packed:
        [name] = packed.namelist()
        assert name == f"{path.rpartition('/')[2].removesuffix('.zip')}.csv"
        return [line.split(",") for line in packed.read(name).decode().splitlines()]


def _metrics(day: str, faults: str = "") -> list[dict[str, str]]:
    header, *rows = _lines(f"futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip", faults)
    assert ",".join(header) == METRICS_HEADER
    return [dict(zip(header, row, strict=True)) for row in rows]


def _rest(path: str, query: str) -> Any:
    exchange = ReplayExchange(_tapes(), HandClock(NOW).now_ms)
    return json.loads(exchange.handle(Request("GET", path, query, {})).body)


def _ms(label: str) -> int:
    return round(datetime.fromisoformat(label).replace(tzinfo=UTC).timestamp() * 1000)


def test_a_label_of_metrics_is_the_end_of_its_minutes_before_the_change_and_their_start_since() -> None:
    before, since = _metrics(BEFORE), _metrics(SINCE)
    assert [len(before), len(since)] == [288, 288]
    assert [before[0]["create_time"], before[-1]["create_time"]] == ["2026-06-24 00:05:00", "2026-06-25 00:00:00"]
    assert [since[0]["create_time"], since[-1]["create_time"]] == ["2026-06-25 00:00:00", "2026-06-25 23:55:00"]
    # One label, two moments.
    assert before[-1]["sum_open_interest"] != since[0]["sum_open_interest"]


@pytest.mark.parametrize(("day", "after_ms"), [(BEFORE, 0), (SINCE, 5 * MINUTE)])
def test_metrics_tell_what_rest_tells_of_the_end_of_the_same_five_minutes(day: str, after_ms: int) -> None:
    labelled = {_ms(row["create_time"]) + after_ms: row for row in _metrics(day)}
    asked = f"symbol=BTCUSDT&period=5m&limit=500&startTime={min(labelled)}&endTime={max(labelled)}"
    held = _rest("/futures/data/openInterestHist", asked)
    ratios = _rest("/futures/data/globalLongShortAccountRatio", asked)
    taken = _rest("/futures/data/takerlongshortRatio", asked)
    assert [row["timestamp"] for row in held] == list(labelled)
    for interest, ratio, takers in zip(held, ratios, taken, strict=True):
        row = labelled[interest["timestamp"]]
        assert float(row["sum_open_interest"]) == float(interest["sumOpenInterest"])
        assert float(row["sum_open_interest_value"]) == float(interest["sumOpenInterestValue"])
        assert f"{float(row['count_long_short_ratio']):.4f}" == ratio["longShortRatio"]
        assert f"{float(row['sum_taker_long_short_vol_ratio']):.4f}" == takers["buySellRatio"]


@pytest.mark.parametrize("name", ["markPriceKlines", "indexPriceKlines", "premiumIndexKlines"])
def test_prices_are_kept_by_month_and_by_day_as_rest_tells_them(name: str) -> None:
    whose = "pair" if name == "indexPriceKlines" else "symbol"
    asked = f"{whose}=BTCUSDT&interval=1h&startTime={CHANGED}&endTime={CHANGED + DAY - 1}"
    told = [",".join(map(str, row)) for row in _rest(f"/fapi/v1/{name}", asked)]
    header, *rows = _lines(f"futures/um/daily/{name}/BTCUSDT/1h/BTCUSDT-1h-{SINCE}.zip")
    assert header[0] == "open_time"
    assert [",".join(row) for row in rows] == told
    month = _lines(f"futures/um/monthly/{name}/BTCUSDT/1h/BTCUSDT-1h-2026-06.zip")
    assert [row for row in month if row in rows] == rows


def test_funding_is_kept_by_month_only() -> None:
    header, *rows = _lines("futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2026-05.zip")
    assert header == ["calc_time", "funding_interval_hours", "last_funding_rate"]
    begin, end = _ms("2026-05-01"), _ms("2026-06-01") - 1
    told = _rest("/fapi/v1/fundingRate", f"symbol=BTCUSDT&startTime={begin}&endTime={end}&limit=1000")
    assert [(int(row[0]), float(row[2])) for row in rows] == [
        (row["fundingTime"], float(row["fundingRate"])) for row in told
    ]
    assert _body(f"futures/um/daily/fundingRate/BTCUSDT/BTCUSDT-fundingRate-{BEFORE}.zip") is None
    assert _body("futures/um/monthly/metrics/BTCUSDT/BTCUSDT-metrics-2026-05.zip") is None


def test_spot_is_kept_without_a_header_in_microseconds() -> None:
    rows = _lines(f"spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{SINCE}.zip")
    told = _rest("/api/v3/klines", f"symbol=BTCUSDT&interval=1h&startTime={CHANGED}&endTime={CHANGED + DAY - 1}")
    assert [(int(row[0]) // 1000, int(row[6]) // 1000, *row[1:6]) for row in rows] == [
        (row[0], row[6], *row[1:6]) for row in told
    ]
    assert {int(row[0]) % 1000 for row in rows} == {0}
    assert {int(row[6]) % 1000 for row in rows} == {999}


@pytest.mark.parametrize(
    "path",
    [
        f"futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-{BEFORE}.zip",
        f"futures/um/daily/metrics/BTCUSDT/1h/BTCUSDT-1h-{BEFORE}.zip",
        f"futures/um/daily/klines/BTCUSDT/BTCUSDT-klines-{BEFORE}.zip",
        f"futures/um/daily/bookTicker/BTCUSDT/BTCUSDT-bookTicker-{BEFORE}.zip",
        "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2026-04-01.zip",
    ],
)
def test_what_is_not_kept_is_404(path: str) -> None:
    assert _body(path) is None


def test_holes_of_the_public_archive_can_be_had() -> None:
    noon = f"[[archive]]\nkind='lacks'\nfile='metrics/*'\nbar={BEFORE}T13:35:00\nuntil_bar={SINCE}T00:00:00"
    assert len(_metrics(BEFORE, noon)) == 162
    twice = f"[[archive]]\nkind='doubled'\nbar={BEFORE}T00:10:00\nuntil_bar={BEFORE}T00:15:00"
    assert [row["create_time"][11:16] for row in _metrics(BEFORE, twice)[:5]] == [
        "00:05", "00:10", "00:10", "00:15", "00:15",
    ]  # fmt: skip
    zero = f"[[archive]]\nkind='zero'\ncolumns=['sum_open_interest']\nbar={BEFORE}T00:05:00"
    first, second = _metrics(BEFORE, zero)[:2]
    assert (first["sum_open_interest"], float(first["sum_open_interest_value"]) > 0) == ("0", True)
    assert float(second["sum_open_interest"]) > 0
    gone = "[[archive]]\nkind='missing'\nfile='metrics/*'"
    assert _body(f"futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{BEFORE}.zip", gone) is None
    assert _body(f"futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-{BEFORE}.zip", gone) is not None


def test_a_day_of_metrics_is_published_next_morning() -> None:
    path = f"/data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{BEFORE}.zip"
    morning = datetime.fromisoformat(SINCE).replace(tzinfo=UTC) + timedelta(hours=8, minutes=30)
    statuses = []
    for now_ms in (round(morning.timestamp() * 1000) - 1, round(morning.timestamp() * 1000)):
        answer = ReplayArchive(_tapes(), HandClock(now_ms).now_ms).handle(Request("GET", path, "", {}))
        statuses.append(answer.status)
    assert statuses == [404, 200]

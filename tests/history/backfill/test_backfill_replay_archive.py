"""The replay archive: what it serves, and that every example of its faults loads."""

import hashlib
import io
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from barfeed.domain.errors import UsageError
from barfeed.replay.archive.service import ReplayArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.faults.archive import ARCHIVE_KINDS, parse_archive_faults
from barfeed.replay.messages import Reply, Request
from barfeed.replay.tapes.tape import Tape
from world import BTCUSDT_1H, made_up_bars, ms

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = (ROOT / "docs" / "replay.md").read_text("utf-8").partition("## The archive")[2]
MONTHLY = "/data/futures/um/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"
DAILY = "/data/futures/um/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02-05.zip"
BARS = made_up_bars(ms(2024, 2, 10, 20), 1700)


def get(path: str, now_ms: int = ms(2024, 2, 7)) -> Reply:
    return ReplayArchive([Tape.of(BTCUSDT_1H, BARS)], HandClock(now_ms).now_ms).handle(Request("GET", path, "", {}))


def test_a_month_is_one_csv_of_its_bars_in_twelve_columns_and_its_checksum_fits() -> None:
    answer = get(MONTHLY)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as packed:
        assert packed.namelist() == ["BTCUSDT-1h-2024-01.csv"]
        header, *rows = packed.read("BTCUSDT-1h-2024-01.csv").decode().splitlines()
    assert header.startswith("open_time,open,high,low,close,volume,close_time,")
    assert len(rows) == 744
    first = rows[0].split(",")
    bar = next(each for each in BARS if each.open_time_ms == ms(2024, 1, 1))
    assert (int(first[0]), *map(float, first[1:6])) == tuple(bar)
    assert (first[6], len(first)) == (str(ms(2024, 1, 1, 1) - 1), 12)
    told = get(f"{MONTHLY}.CHECKSUM").body
    assert told == f"{hashlib.sha256(answer.body).hexdigest()}  BTCUSDT-1h-2024-01.zip".encode()


@pytest.mark.parametrize(
    "path",
    [
        MONTHLY.replace("2024-01", "2024-13"),
        DAILY.replace("2024-02-05", "2024-02-30"),
        DAILY.replace("daily", "monthly"),
        MONTHLY.replace("BTCUSDT", "ETHUSDT"),
        MONTHLY.replace("2024-01", "2019-11"),
        "/data/futures/um/monthly/klines/",
        "/data/futures/um/monthly/klines/BTCUSDT/1h/../x.zip",
    ],
)
def test_what_is_not_there_is_404(path: str) -> None:
    assert get(path).status == 404


def test_a_day_is_published_next_morning() -> None:
    assert get(DAILY, ms(2024, 2, 6, 8)).status == 404
    assert get(DAILY, ms(2024, 2, 6, 9)).status == 200


def test_every_fault_has_an_example_that_loads() -> None:
    examples = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    loaded = [fault for example in examples for fault in parse_archive_faults(example, "docs/replay.md")]
    assert {fault.kind for fault in loaded} == set(ARCHIVE_KINDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[archive]]\nkind = "none"', "allowed: missing"),
        ('[[archive]]\nkind = "flat"', "bar is missing"),
        ('[[archive]]\nkind = "missing"\nbar = 2024-01-01T00:00:00', "no key 'bar'"),
        ('[[archive]]\nkind = "status"\nstatus = 200', "a status from 400"),
        ('[[fault]]\nkind = "missing"', "expected [[archive]]"),
        ("archive = 1", "expected [[archive]]"),
        ("x", "expected TOML"),
    ],
)
def test_a_fault_file_that_cannot_be_used_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_archive_faults(text, "faults.toml")
    assert says in str(error.value)
    assert "faults.toml" in str(error.value)


def test_the_command_serves_it(tmp_path: Path) -> None:
    faults = tmp_path / "faults.toml"
    faults.write_text('[[archive]]\nkind = "missing"\nfile = "*-01"\n')
    flags = ["--generate", "BTCUSDT-1h", "--port", "0", "--archive", "--archive-fault", str(faults)]
    process = subprocess.Popen(
        [sys.executable, "-m", "barfeed", "replay", *flags, "--latency-sec", "0.01"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = next(line for line in process.stdout if "listens" in line).split()[-1]
        with urllib.request.urlopen(f"{url}{DAILY}", timeout=60) as answer:
            assert answer.read(2) == b"PK"
    finally:
        process.terminate()
        process.communicate(timeout=60)

"""`barfeed doctor` finds what is wrong, says what mends it, changes nothing, and never waits long."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import duckdb
import pytest
import trustme

from barfeed.cli.commands.history.verify import verify
from barfeed.cli.commands.operate.doctor import doctor
from barfeed.exchange.transport.proxies import proxy_shown
from barfeed.operate.doctor.examination import LIMIT_SEC
from barfeed.replay.faults.script import parse_faults
from commands import BARS, call, execute, make_store
from docs.pages import without_numbers
from process import ROOT, Machine
from storage import break_column, of_the_future
from waiting import until
from world import hours

TABLE = "ohlcv_btcusdt_1h"
NOWHERE = "http://127.0.0.1:1"
Told = dict[str, dict[str, str]]


def words_of(feeding: Machine, *more: object) -> list[object]:
    folder = feeding.folder
    return [
        "--duckdb", feeding.duckdb, "--persist-dir", folder / "feed", "--base-url", feeding.url,
        "--max-skew-sec", "1e10", *more,
    ]  # fmt: skip


def told(feeding: Machine, *more: object) -> Told:
    """Each check by its name, once it is known that the exit code agrees."""
    done = call(doctor, *words_of(feeding, *more), "--json")
    assert done.told["healthy"] is (done.code == 0)
    return {each["name"]: each for each in done.told["checks"]}


def bad(checks: Told) -> set[str]:
    return {name for name, each in checks.items() if each["state"] == "bad"}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_feed_that_just_ran_is_well_and_nothing_of_it_is_changed(feeding: Machine) -> None:
    before = digests(feeding.folder)
    checks = told(feeding)
    assert bad(checks) == set()
    assert checks["newest bar"]["seen"] == "BTCUSDT 1h: 2024-02-10 13:00, one of 726"
    assert checks["last cycle"]["seen"] == "20240210_140030Z appended"
    assert checks["key"]["state"] == checks["space"]["state"] == "good"
    assert f"whole, can be read by DuckDB 1.1.0 and later, used with {duckdb.__version__}" in checks["store"]["seen"]
    assert digests(feeding.folder) == before


def test_a_person_reads_one_line_a_check_and_the_outcome(feeding: Machine) -> None:
    done = call(doctor, *words_of(feeding))
    *lines, outcome = done.out.splitlines()
    assert outcome == "all is well"
    assert len(lines) == len(told(feeding))
    assert re.match(rf"✓ exchange +{re.escape(feeding.url)} answered in \d+\.\d\d s$", lines[0])
    assert call(doctor, *words_of(feeding, "--duckdb", feeding.folder / "none")).out.endswith(" checks failed\n")


def test_the_lines_on_the_page_are_those_that_are_printed(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barfeed.operate.doctor.host.schedulers", lambda *_: [])
    (shown,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs" / "doctor.md").read_text(), re.DOTALL)
    done = call(doctor, *words_of(feeding, "--max-skew-sec", 5))
    printed = done.out.replace(feeding.url, "https://fapi.binance.com").splitlines()
    assert set(map(without_numbers, shown.splitlines())) <= set(map(without_numbers, printed))


def test_json_is_one_line_with_one_object_a_check(feeding: Machine) -> None:
    done = call(doctor, *words_of(feeding, "--json"))
    (line,) = done.out.splitlines()
    facts = json.loads(line)
    assert set(facts) == {"healthy", "version", "checks"}
    for check in facts["checks"]:
        assert set(check) == {"name", "state", "seen", "fix"}
        assert check["state"] in {"good", "note", "bad"}
        assert check["seen"]
        assert bool(check["fix"]) == (check["state"] != "good"), check


REFUSALS = {
    451: ("does not serve this location: HTTP 451", "run it from a location that Binance serves"),
    418: ("banned this address until 2024-02-10 14:02", "stop every client on this address"),
    403: ("blocks this address: HTTP 403", "stop every client on this address"),
    503: ("did not answer /fapi/v1/time in 0.7 s", "check the address, the network, the firewall"),
}


@pytest.mark.parametrize("status", REFUSALS)
def test_an_exchange_that_refuses_is_told_in_its_own_words(
    feeding: Machine, status: int, request: pytest.FixtureRequest
) -> None:
    if status == 503:
        # Nobody but the feed itself ends its tries.
        request.getfixturevalue("impatient")
    feeding.exchange.faults = parse_faults(
        f'[[fault]]\nkind = "status"\nstatus = {status}\npath = "time"\n', "the test"
    )
    checks = told(feeding)
    # By the machine's own clock the replay exchange's bars are years old.
    assert bad(checks) == {"exchange", "newest bar"}
    seen, fix = REFUSALS[status]
    assert seen in checks["exchange"]["seen"]
    assert checks["exchange"]["fix"].startswith(fix)


def test_a_clock_that_is_off_is_told_with_how_much(feeding: Machine) -> None:
    clock = told(feeding, "--max-skew-sec", "5")["clock"]
    assert clock["state"] == "bad"
    assert re.fullmatch(r"\d+\.\d\d s ahead of the exchange's, more than --max-skew-sec 5", clock["seen"])
    assert "timedatectl set-ntp true" in clock["fix"]


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
def test_a_proxy_is_named_without_its_password(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://somebody:secret-word@127.0.0.1:1")
    done = call(doctor, *words_of(feeding, "--json"))
    checks = {each["name"]: each for each in done.told["checks"]}
    assert checks["proxy"]["seen"] == "http://127.0.0.1:1"
    assert checks["exchange"]["state"] == "bad"
    assert "secret-word" not in done.out + done.err
    monkeypatch.setenv("HTTP_PROXY", "http://somebody:secret-word@127.0.0.1:no")
    done = call(doctor, *words_of(feeding))
    assert "the proxy from the environment is no address" in done.out
    assert "secret-word" not in done.out + done.err


def test_a_proxy_that_is_none_keeps_no_look_from_the_store(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(feeding.duckdb, f"DELETE FROM {TABLE} WHERE timestamp = '2024-02-10 03:00:00'")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:no")
    checks = {each["name"]: each for each in call(doctor, *words_of(feeding, "--json")).told["checks"]}
    assert checks["store"]["state"] == "good"
    assert "have a gap: 2024-02-10 03:00" in checks["window"]["seen"]


@pytest.mark.parametrize("stream_url", ["ws://127.0.0.1:1/market", "wss://fstream.binance.com/market"])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
def test_the_proxy_of_a_stream_is_the_one_of_rest(
    monkeypatch: pytest.MonkeyPatch, variable: str, stream_url: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    assert proxy_shown(stream_url) == proxy_shown(stream_url.replace("ws", "http", 1))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,.binance.com")
    assert proxy_shown(stream_url) == ""


@pytest.mark.usefixtures("impatient")
def test_what_is_behind_a_proxy_is_a_note(feeding: Machine, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    checks = told(feeding, "--stream", "--stream-url", f"ws://{silent}/market")
    assert (checks["tls"]["state"], checks["stream"]["state"]) == ("note", "note")
    assert checks["stream"]["seen"].endswith("/market: through the proxy http://127.0.0.1:1; not looked at")


def test_a_certificate_that_nobody_trusts_is_told(feeding: Machine, secured: str) -> None:
    checks = told(feeding, "--base-url", f"https://{secured}", "--stream", "--stream-url", f"wss://{secured}")
    assert {"exchange", "tls", "stream"} <= bad(checks)
    assert "certificate cannot be trusted" in checks["exchange"]["seen"]
    assert "certificate verify failed" in checks["tls"]["seen"]
    assert "certificate verify failed" in checks["stream"]["seen"]
    assert "SSL_CERT_FILE" in checks["tls"]["fix"]


@pytest.mark.long
def test_a_trusted_certificate_is_told_with_its_end(
    feeding: Machine, secured: str, authority: trustme.CA, tmp_path: Path
) -> None:
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    ran = run_doctor(feeding, "--base-url", f"https://{secured}", "--json", SSL_CERT_FILE=str(trusted))
    tls = next(each for each in json.loads(ran.stdout)["checks"] if each["name"] == "tls")
    assert (tls["state"], tls["seen"]) == (
        "good",
        # What trustme gives every certificate.
        f"https://{secured}: certificate trusted, until 3000-01-01 00:00 UTC",
    )


@pytest.mark.long
def test_the_streams_address_is_tried_only_with_stream(feeding: Machine, silent: str) -> None:
    assert "stream" not in told(feeding)
    assert told(feeding, "--stream", "--stream-url", f"ws://{silent}/market")["stream"]["state"] == "good"
    gone = told(feeding, "--stream", "--stream-url", "ws://127.0.0.1:1/market")["stream"]
    assert (gone["state"], "Connection refused" in gone["seen"]) == ("bad", True)
    assert call(doctor, *words_of(feeding, "--stream", "--stream-url", "nonsense")).code == 2


def test_a_store_that_is_not_there_is_bad_and_stays_absent(feeding: Machine, tmp_path: Path) -> None:
    store = told(feeding, "--duckdb", tmp_path / "new" / "none.duckdb")["store"]
    assert store["seen"].endswith("none.duckdb does not exist")
    there = f"--base-url {feeding.url} --persist-dir {feeding.folder / 'feed'}"
    assert store["fix"] == f"start it: barfeed run --duckdb {tmp_path / 'new' / 'none.duckdb'} {there} --catch-up"
    assert not (tmp_path / "new").exists()


@pytest.mark.long
def test_who_holds_the_store_is_named(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barfeed.cli.commands.operate.doctor._LOCK_SEC", 0.1)
    script = "import duckdb, sys; kept = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, feeding.duckdb], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        store = told(feeding)["store"]
    finally:
        holder.communicate()
    assert store["state"] == "bad"
    assert f"(PID {holder.pid})" in store["seen"]


def test_a_file_of_a_newer_duckdb_says_so(feeding: Machine) -> None:
    feeding.duckdb.write_bytes(of_the_future(feeding.duckdb.read_bytes()))
    store = told(feeding)["store"]
    assert "was written by a newer DuckDB" in store["seen"]
    assert store["fix"] == "upgrade DuckDB: pip install --upgrade duckdb"


@pytest.mark.long
def test_a_broken_file_and_another_shape_are_told(feeding: Machine) -> None:
    execute(feeding.duckdb, f"ALTER TABLE {TABLE} RENAME close TO shut")
    assert "another shape: close is missing" in told(feeding)["table"]["seen"]
    for content, says in (
        (b"not a database at all " * 1000, "is a text file, expected a DuckDB file; it begins 'not a database"),
        (b"", "is empty, 0 bytes"),
        (bytes(20_000), "cannot be used"),
    ):
        feeding.duckdb.write_bytes(content)
        assert says in told(feeding)["store"]["seen"]


@pytest.mark.parametrize(
    "column",
    ["open", pytest.param("volume", marks=pytest.mark.long), pytest.param("created_at", marks=pytest.mark.long)],
)
def test_a_store_with_one_broken_block_is_not_whole(feeding: Machine, column: str) -> None:
    execute(
        feeding.duckdb,
        f"INSERT INTO {TABLE} SELECT timestamp '1980-01-01' + to_hours(i::INT), 1 + random(), 3, 0, 1 + random(),"
        " random(), now()::TIMESTAMP + to_microseconds((random() * 1e9)::BIGINT) FROM range(200000) AS hours(i)",
        "CHECKPOINT",
    )
    assert told(feeding)["store"]["state"] == "good"
    break_column(feeding.duckdb, TABLE, column)
    store = told(feeding)["store"]
    assert store["state"] == "bad"
    assert "checksum" in store["seen"]
    assert "restore it from a backup" in store["fix"]
    if column != "created_at":
        proven = call(verify, "--duckdb", feeding.duckdb, "--persist-dir", feeding.folder / "feed")
        assert (proven.code, proven.err) == (4, store["seen"])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        ("", "table"),
        (f"CREATE UNIQUE INDEX mine ON {TABLE} (timestamp)", "key"),
        (f"CREATE INDEX mine ON {TABLE} (timestamp)", "table"),
        (f"CREATE UNIQUE INDEX mine ON {TABLE} (timestamp, volume)", "table"),
        (f"ALTER TABLE {TABLE} ADD PRIMARY KEY (timestamp)", "key"),
    ],
)
def test_a_table_that_takes_a_bar_twice_is_bad_and_named_with_what_mends_it(
    feeding: Machine, tmp_path: Path, make: str, name: str
) -> None:
    store = make_store(tmp_path / "users.duckdb", BARS, with_key=False)
    execute(store, *[make] if make else [])
    checks = told(feeding, "--duckdb", store)
    assert {"key", "table"} & set(checks) == {name}
    if name == "table":
        assert bad(checks) == {"table"}
        execute(store, checks["table"]["fix"].partition(": ")[2])
        assert told(feeding, "--duckdb", store)["key"]["state"] == "good"


def test_a_feed_that_stopped_has_a_hole_or_failed_is_told_with_the_command(feeding: Machine) -> None:
    execute(feeding.duckdb, f"UPDATE {TABLE} SET volume = 1 WHERE timestamp = '2024-02-10 12:00'")
    assert feeding.feed().code == 1
    execute(feeding.duckdb, f"DELETE FROM {TABLE} WHERE timestamp = '2024-02-01'")
    feeding.clock.advance(hours(3))
    checks = told(feeding)
    assert bad(checks) == {"newest bar", "window", "last cycle"}
    assert checks["newest bar"]["seen"].endswith("the store is 3 bars behind 2024-02-10 16:00")
    assert checks["newest bar"]["fix"].startswith(f"catch up: barfeed run --duckdb {feeding.duckdb} ")
    there = f"--duckdb {feeding.duckdb} --base-url {feeding.url}"
    assert checks["window"]["fix"] == f"see the plan to fill it: barfeed repair {there} --only gaps --dry-run"
    assert checks["window"]["seen"].endswith("have a gap: 2024-02-01 00:00")
    helps = checks["last cycle"]["fix"]
    assert helps.startswith("nothing was appended; see both versions, and take the exchange's if it is right: ")
    assert helps.endswith(f" repair --duckdb {feeding.duckdb}; docs/operating.md tells what to do about mismatch")


def test_a_bar_that_contradicts_itself_is_told_with_the_way_to_let_it_pass(feeding: Machine) -> None:
    odd = '[[fault]]\nkind = "text"\nbar = 2024-02-10T14:00:00\ncolumn = 9\nvalue = \'"99999999.0"\'\n'
    feeding.exchange.faults = parse_faults(odd, "the test")
    feeding.clock.advance(hours(1))
    assert feeding.feed().code == 5
    helps = told(feeding)["last cycle"]["fix"]
    assert f" repair --duckdb {feeding.duckdb} --let-pass '2024-02-10 14:00'; docs/operating.md" in helps


@pytest.mark.long
def test_hours_without_a_trade_are_told_as_status_tells_them(feeding: Machine) -> None:
    flat = '[[fault]]\nkind = "flat"\nbar = 2024-02-10T14:00:00\nuntil_bar = 2024-02-10T16:00:00\n'
    assert "trades" not in told(feeding)
    feeding.exchange.faults = parse_faults(flat, "the test")
    feeding.clock.advance(hours(3))
    assert feeding.feed("--catch-up").code == 0
    checks = told(feeding)
    assert bad(checks) == {"trades"}
    assert checks["trades"]["seen"] == (
        "nothing was traded in 2024-02-10 14:00..2024-02-10 16:00 (3 bars): an outage, or a market after its end"
    )


def test_bars_that_are_not_closed_yet_are_not_caught_up_with(feeding: Machine) -> None:
    feeding.clock.advance(-hours(2))
    newest = told(feeding)["newest bar"]
    assert newest["seen"].endswith("2024-02-10 13:00, which is not closed yet")
    assert "in local time instead of UTC" in newest["fix"]
    assert "with the bar that was still forming" in newest["fix"]


def test_a_night_of_failed_hours_makes_no_day_smaller(feeding: Machine) -> None:
    seen = told(feeding)["space"]["seen"]
    a_day = seen.partition(" days at ")[2]
    assert re.fullmatch(r"[1-9]\.\d MB a day", a_day)
    (good,) = feeding.artifacts.glob("*_run.json")
    for number in range(2, 40):
        failed = good.stem.replace("_run", f"-{number}")
        told_of = json.loads(good.read_text()) | {"run_time": failed, "exit_code": 3, "files": {}}
        good.with_name(f"{failed}_run.json").write_text(json.dumps(told_of))
    checks = told(feeding)
    assert checks["last cycle"]["state"] == "bad"
    assert checks["space"]["seen"].endswith(f" days at {a_day}")


def test_a_folder_that_is_a_file_cannot_be_written(feeding: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    checks = told(feeding, "--persist-dir", tmp_path / "file" / "feed")
    assert "Not a directory" in checks[f"folder {tmp_path / 'file' / 'feed'}"]["seen"]


@pytest.mark.long
def test_the_folder_of_the_metrics_is_not_made_and_has_to_be_there(feeding: Machine, tmp_path: Path) -> None:
    folder, store, root = tmp_path / "the metrics", tmp_path / "data" / "new.duckdb", tmp_path / "data" / "feed"
    places = ("--duckdb", store, "--persist-dir", root, "--metrics-file", folder / "barfeed.prom")
    checks = told(feeding, *places)
    assert bad(checks) == {"store", f"folder {folder}"}
    assert checks[f"folder {folder}"]["fix"] == f"mkdir -p '{folder}'"
    assert checks[f"folder {root}"]["seen"] == f"to be made; {tmp_path} is writable"
    assert not folder.exists()
    ran = feeding.feed("--catch-up", *map(str, places))
    assert (ran.code, "barfeed.prom cannot be written" in ran.err) == (0, True)
    subprocess.run(checks[f"folder {folder}"]["fix"], shell=True, check=True)
    assert bad(told(feeding, *places)) == set()


def test_the_metrics_may_stand_in_a_folder_that_the_feed_makes(feeding: Machine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    checks = told(feeding, "--persist-dir", data / "feed", "--metrics-file", data / "barfeed.prom")
    assert checks[f"folder {data}"]["state"] == "good"


# What does not hang may take its time on a busy machine.
PATIENT = """
from barfeed.cli.main import main
from barfeed.operate.doctor import examination as doctor
doctor.LIMIT_SEC, doctor._ANSWER_SEC = 240.0, 60.0
main()
"""
AS_NOBODY = f"""
import os
import _strptime, encodings.idna, urllib.request
import barfeed.cli.commands.operate.doctor, barfeed.operate.doctor.examination
os.setgid(65534)
os.setuid(65534)
{PATIENT}
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_told_what_it_may_not_write(feeding: Machine) -> None:
    for path in (feeding.folder, *feeding.folder.parents[:3]):
        path.chmod(0o755)
    feeding.duckdb.chmod(0o444)
    # Python itself may be closed to that user: it is imported before.
    ran = run_doctor(feeding, "--json", start=(sys.executable, "-c", AS_NOBODY))
    checks = {each["name"]: each for each in json.loads(ran.stdout)["checks"]}
    assert "may not be" in checks["store"]["seen"]
    assert {"store", f"folder {feeding.folder}", f"folder {feeding.folder / 'feed'}"} == bad(checks)
    assert checks[f"folder {feeding.folder}"]["seen"] == "cannot be written: Permission denied"


@pytest.mark.long
def test_what_hangs_is_told_and_the_rest_too(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_args, **_more: over.wait())
    monkeypatch.setattr("barfeed.operate.doctor.examination.LIMIT_SEC", 2.0)

    def looking() -> int:
        return sum(each.name == "barfeed-doctor" for each in threading.enumerate())

    def wait_for(looks: Sequence[Future[Any]], left_sec: float) -> Any:
        # The time, who wait for it, and the certificate; what does not hang is done before the time is up.
        until(lambda: looking() <= 6)
        return wait(looks, left_sec)

    monkeypatch.setattr("barfeed.operate.doctor.examination.wait", wait_for)
    try:
        checks = told(feeding, "--base-url", "http://exchange.test")
    finally:
        over.set()
    late = {name for name, each in checks.items() if each["seen"] == "not known after 2 s"}
    # The newest bar needs the time.
    assert late == {"exchange", "tls", "symbol", "store"}
    assert checks["last cycle"]["state"] == checks["space"]["state"] == "good"


def run_doctor(
    feeding: Machine, *more: object, start: tuple[str, ...] = (sys.executable, "-c", PATIENT), **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*start, "doctor", *map(str, words_of(feeding, *more))],
        env=feeding.environment(**environment) | {"PYTHONPATH": str(ROOT / "src")},
        cwd="/",
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


@pytest.mark.long
def test_a_silent_exchange_does_not_keep_a_process(feeding: Machine, silent: str) -> None:
    # It is silent for ever.
    words = ("--base-url", f"https://{silent}", "--stream", "--stream-url", f"wss://{silent}", "--json")
    ran = run_doctor(feeding, *words, start=(sys.executable, "-m", "barfeed"))
    checks: Any = {each["name"]: each for each in json.loads(ran.stdout)["checks"]}
    assert ran.returncode == 1
    assert {"exchange", "tls", "stream"} <= bad(checks)
    assert "did not answer /fapi/v1/time in 4 s" in checks["exchange"]["seen"]
    # Of the ten seconds that the page promises, the rest is for Python's start.
    assert LIMIT_SEC <= 8.5


@pytest.mark.long
def test_a_terminal_without_ticks_is_told_in_ascii(feeding: Machine) -> None:
    ran = run_doctor(feeding, "--persist-dir", feeding.folder / "é", PYTHONIOENCODING="ascii")
    assert ran.stdout.isascii()
    assert re.search(r"^ok   exchange ", ran.stdout, re.MULTILINE)
    assert re.search(r"^ok   folder .*\\xe9 ", ran.stdout, re.MULTILINE)
    assert "\x1b" not in ran.stdout


LIVES = {
    "settled": (
        'kind = "settle"\nat = 2024-02-10T13:30:00\nuntil_bar = 2024-02-10T13:00:00',
        "BTCUSDT: settled since 2024-02-10 13:30 (SETTLING)",
        "settled since 2024-02-10 13:30 (SETTLING): its last bar is 2024-02-10 13:00",
    ),
    "halted": (
        'kind = "halt"\nat = 2024-02-10T14:00:00',
        "BTCUSDT: halted (PENDING_TRADING); listed since ",
        "; the store ends at 2024-02-10 13:00",
    ),
    "delisted": (
        'kind = "delist"\nat = 2024-02-10T13:30:00',
        "BTCUSDT: not in the exchange's list of symbols: delisted, or never there",
        "delisted, or never there; the store ends at 2024-02-10 13:00",
    ),
}


@pytest.mark.parametrize("life", LIVES)
def test_a_symbol_of_which_no_bar_comes_is_told_and_no_catching_up(feeding: Machine, life: str) -> None:
    fault, listed, newest = LIVES[life]
    feeding.exchange.faults = parse_faults(f"[[fault]]\n{fault}", "the test")
    feeding.clock.advance(hours(3))
    checks = told(feeding)
    assert (checks["symbol"]["state"], checks["newest bar"]["state"]) == ("bad", "bad")
    assert listed in checks["symbol"]["seen"]
    assert newest in checks["newest bar"]["seen"]
    assert "catch-up" not in checks["newest bar"]["fix"] + checks["symbol"]["fix"]


def test_a_symbol_that_trades_is_good_and_a_known_end_a_note(feeding: Machine) -> None:
    assert told(feeding)["symbol"] == {
        "name": "symbol", "state": "good", "seen": "BTCUSDT: trading (TRADING)", "fix": "",
    }  # fmt: skip
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "settle"\nat = 2024-03-01T09:00:00', "the test")
    assert told(feeding)["symbol"] == {
        "name": "symbol", "state": "note", "seen": "BTCUSDT: trading until 2024-03-01 09:00 (TRADING)",
        "fix": "no bars come after that",
    }  # fmt: skip


def test_a_list_that_cannot_be_had_is_a_note(feeding: Machine) -> None:
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "object"\npath = "exchangeInfo"', "the test")
    assert told(feeding)["symbol"]["state"] == "note"


def test_a_hole_of_the_exchanges_own_is_waited_for(feeding: Machine) -> None:
    execute(feeding.duckdb, "DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-09 03:00:00'")
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "hide"\nbar = 2024-02-09T03:00:00', "the test")
    window = told(feeding)["window"]
    assert window["state"] == "bad"
    assert window["seen"] == (
        "the newest 726 bars have a gap: 2024-02-09 03:00;"
        " the exchange itself has no bar of 2024-02-09 03:00; whole from 2024-03-10 10:00"
    )
    assert "nothing to fetch until then" in window["fix"]


@pytest.mark.long
def test_a_young_symbol_is_told_from_when_its_window_is_whole(feeding: Machine) -> None:
    execute(feeding.duckdb, "DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < '2024-02-08 00:00:00'")
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "pending"\nat = 2024-02-08T00:00:00', "the test")
    window = told(feeding)["window"]
    assert window["seen"] == (
        "the newest 726 bars are not all there: the store begins at 2024-02-08 00:00;"
        " first bar 2024-02-08 00:00; whole from 2024-03-09 06:00"
    )
    feeding.exchange.faults = ()
    window = told(feeding)["window"]
    assert window["seen"] == "the newest 726 bars are not all there: the store begins at 2024-02-08 00:00"
    assert window["fix"].endswith(
        "backfill --duckdb " + str(feeding.duckdb) + f" --base-url {feeding.url} --from '2024-01-11 08:00'"
    )

"""The hourly command as cron sees it: real processes, real sockets, real signals."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from barfeed.replay.faults.script import parse_faults
from process import FEED, Machine, machine
from storage import opened
from waiting import in_time, until
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
UNHEARD = ["> /dev/full", ">&-", ">&- 2>&-"]


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, TARGET_MS) as made:
        yield made


def newest(store: Path) -> str:
    with opened(store, read_only=True) as connection:
        (row,) = connection.execute("SELECT max(timestamp)::VARCHAR FROM ohlcv_btcusdt_1h").fetchall()
    return str(row[0])


@pytest.mark.long
def test_an_afternoon_of_cold_hours(feeding: Machine) -> None:
    first = feeding.feed("--catch-up")
    assert first.code == 0, first.err
    for hour in range(1, 4):
        feeding.clock.advance(hours(1))
        ran = feeding.feed()
        assert (ran.code, ran.err) == (0, "")
        assert re.fullmatch(
            rf"pulled=6 validated=5 appended=1 target=2024-02-10 {13 + hour}:00"
            rf" coverage=2024-01-11 08:00\.\.2024-02-10 {13 + hour}:00 rows={726 + hour}"
            rf" inference=20240210_{14 + hour}0030Z_for_inference\.csv \d+\.\d\d s\n",
            ran.out,
        )


def test_json_gives_the_manifest_on_one_line(feeding: Machine) -> None:
    ran = feeding.feed("--catch-up", "--json")
    (line,) = ran.out.splitlines()
    told = json.loads(line)
    assert (told["status"], told["exit_code"], told["counts"]["appended"]) == ("appended", 0, 726)
    assert json.loads(Path(told.pop("manifest")).read_text()) == told


def test_a_failure_says_what_and_what_helps_without_a_traceback(feeding: Machine) -> None:
    ran = feeding.feed()
    assert ran.code == 1
    assert ran.out.startswith("failed=store_empty exit=1 pulled=6 ")
    assert ran.err.splitlines()[0] == "barfeed: BTCUSDT 1h: the store holds no bar to validate against"
    assert re.fullmatch(r"  hint: start it: \S+ \S+ohlcv_feed_binance\.py .*--catch-up", ran.err.splitlines()[1])


@pytest.mark.long
def test_the_command_in_the_hint_helps(feeding: Machine) -> None:
    command = feeding.feed().err.splitlines()[1].partition("start it: ")[2]
    done = subprocess.run(["sh", "-c", command], env=feeding.environment(), capture_output=True, text=True, check=True)
    assert " appended=726 " in done.stdout


@pytest.mark.long
def test_the_command_in_the_hint_of_the_module_helps_too(feeding: Machine) -> None:
    command = [sys.executable, "-m", "barfeed", "run", *feeding.command()[2:]]
    failed = subprocess.run(command, env=feeding.environment(), capture_output=True, text=True, check=False)
    hinted = failed.stderr.splitlines()[1].partition("start it: ")[2]
    done = subprocess.run(["sh", "-c", hinted], env=feeding.environment(), capture_output=True, text=True, check=True)
    assert " appended=726 " in done.stdout


@pytest.mark.long
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_the_command_in_the_hint_of_a_watch_helps_beside_it(feeding: Machine, by: str) -> None:
    stream = feeding.url.replace("http", "ws", 1) + "/market"
    flags = ["--listen", "127.0.0.1:0", "--listen=127.0.0.1:0", "--stream", "--stream-url", stream, "--sleep-sec", "60"]
    environment = {"BARFEED_WATCH": "1"} if by == "variable" else {}
    watch = subprocess.Popen(
        feeding.command(*flags, *(["--watch"] if by == "flag" else [])),
        env=feeding.environment(**environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watch.stderr is not None
        hinted = next(filter(None, (re.search(r"\(start it: (.*)\)", line) for line in watch.stderr)))[1]
        ran = feeding.call(shlex.split(hinted), **environment)
        assert (ran.code, ran.err) == (0, f"INFO {feeding.duckdb} is a new store\n")
        assert " appended=726 " in ran.out
    finally:
        watch.terminate()
        watch.communicate(timeout=60)


WATCHS_OWN = {"listen": "0.0.0.0:9464", "stream": True}


@pytest.mark.long
@pytest.mark.parametrize("name", WATCHS_OWN)
def test_a_single_cycle_lives_in_the_environment_and_with_the_file_of_a_watch(feeding: Machine, name: str) -> None:
    value = json.dumps(WATCHS_OWN[name])
    file = feeding.folder / "feed.toml"
    file.write_text(f"{name} = {value}\n")
    by_file = feeding.feed("--catch-up", "--config", str(file))
    assert (by_file.code, by_file.err) == (0, f"INFO {feeding.duckdb} is a new store\n")
    by_variable = feeding.feed("--catch-up", **{f"BARFEED_{name.upper()}": value.strip('"')})
    assert (by_variable.code, by_variable.err) == (0, "")


@pytest.mark.parametrize(
    "redirect", ["> /dev/full 2>&1", *(pytest.param(each, marks=pytest.mark.long) for each in UNHEARD)]
)
def test_a_good_hour_is_good_though_nobody_can_hear_of_it(feeding: Machine, redirect: str) -> None:
    assert feeding.feed("--catch-up").code == 0
    feeding.clock.advance(hours(1))
    command = shlex.join(feeding.command()) + f" {redirect}"
    done = subprocess.run(["sh", "-c", command], env=feeding.environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert newest(feeding.duckdb) == "2024-02-10 14:00:00"


@pytest.mark.long
def test_a_watch_goes_on_though_nobody_can_hear_of_it(feeding: Machine) -> None:
    shell = (
        shlex.join(feeding.command("--watch", "--catch-up", "--sleep-sec", "0.1", "--settle-sec", "0")) + " > /dev/full"
    )
    watch = subprocess.Popen(["sh", "-c", f"exec {shell}"], env=feeding.environment(), stderr=subprocess.DEVNULL)
    try:
        for hour in (13, 14):
            until(lambda hour=hour: list(feeding.artifacts.glob(f"20240210_{hour + 1}*_run.json")))  # type: ignore[misc] # a default binds
            feeding.clock.advance(hours(1))
        assert watch.poll() is None
    finally:
        watch.terminate()
        watch.wait(60)
    assert newest(feeding.duckdb) >= "2024-02-10 14:00:00"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What a shell says of each: 128 and its number.
@pytest.mark.long
@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)])
def test_a_single_run_that_is_ended_ends_its_command_too(feeding: Machine, name: str, code: int) -> None:
    begun = feeding.folder / "begun"
    once = feeding.start("--catch-up", "--then", f"echo $$ > {begun}; sleep 300")
    until(lambda: begun.exists() and begun.read_text())
    once.send_signal(signal.Signals[f"SIG{name}"])
    once.communicate(timeout=60)
    assert once.returncode == code
    until(lambda: not is_alive(int(begun.read_text())))
    (manifest,) = feeding.artifacts.glob("*_run.json")
    assert json.loads(manifest.read_text())["status"] == "appended"


def in_a_terminal(feeding: Machine, *words: str) -> tuple[int, int]:
    """Begin a command as the shell of a terminal of its own; its process id, and the terminal's other end."""
    pid, terminal = os.forkpty()
    if pid == 0:
        os.execvpe(words[0], words, feeding.environment())
    return pid, terminal


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(in_time(lambda: os.waitpid(pid, 0)[1]))


@pytest.mark.long
@pytest.mark.parametrize(("flags", "code"), [(["--watch"], 0), ([], 129)])
def test_a_terminal_that_is_closed_ends_the_feed_and_its_command(feeding: Machine, flags: list[str], code: int) -> None:
    begun = feeding.folder / "begun"
    command = feeding.command("--catch-up", "--then", f"echo $$ > {begun}; sleep 300", *flags)
    pid, terminal = in_a_terminal(feeding, *command)
    until(lambda: begun.exists() and begun.read_text())
    os.close(terminal)
    assert exit_code(pid) == code
    until(lambda: not is_alive(int(begun.read_text())))
    assert not list((feeding.artifacts / ".unfinished").glob("2*"))


@pytest.mark.long
def test_with_nohup_a_feed_outlives_its_terminal(feeding: Machine) -> None:
    begun, done = feeding.folder / "begun", feeding.folder / "done"
    then = f"touch {begun}; until test -e {done}; do sleep 0.05; done"
    pid, terminal = in_a_terminal(
        feeding, "sh", "-c", f"exec nohup {shlex.join(feeding.command('--catch-up', '--then', then))} > /dev/null"
    )
    until(begun.exists)
    os.close(terminal)
    os.kill(pid, signal.SIGHUP)
    done.touch()
    assert exit_code(pid) == 0
    (manifest,) = feeding.artifacts.glob("*_run.json")
    assert json.loads(manifest.read_text())["then"]["exit_code"] == 0


def test_a_signal_as_its_command_begins_ends_the_command_too(feeding: Machine) -> None:
    begun = feeding.folder / "begun"
    ran = feeding.feed("--catch-up", "--then", f"echo $$ > {begun}; kill -TERM $PPID; sleep 300")
    assert ran.code == 143
    assert not is_alive(int(begun.read_text()))


def test_with_debug_there_is_a_traceback(feeding: Machine) -> None:
    assert "Traceback" in feeding.feed("--debug").err


def test_an_exchange_that_is_not_there_is_exit_3_and_leaves_a_manifest(feeding: Machine, deaf: str) -> None:
    ran = feeding.feed("--base-url", f"http://{deaf}", "--max-wait-sec", "1")
    assert ran.code == 3
    assert f"http://{deaf} did not answer /fapi/v1/time in 1 s" in ran.err
    assert len(list(feeding.artifacts.glob("*_run.json"))) == 1


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param('kind = "reset"', 3, marks=pytest.mark.long),
        pytest.param('kind = "truncate"', 3, marks=pytest.mark.long),
        pytest.param('kind = "hang"\nsec = 600', 3, marks=pytest.mark.long),
        pytest.param('kind = "drip"\nbytes_per_sec = 1', 3, marks=pytest.mark.long),
        pytest.param('kind = "html"', 3, marks=pytest.mark.long),
        ('kind = "redirect"\nto = "http://127.0.0.1:9/"', 5),
        ('kind = "status"\nstatus = 418', 3),
        ('kind = "reset"\nrequests = "1-2"', 0),
        pytest.param('kind = "truncate"\nrequests = "1-2"', 0, marks=pytest.mark.long),
        pytest.param('kind = "header_case"\ncase = "upper"', 0, marks=pytest.mark.long),
    ],
)
def test_faults_on_a_real_wire_end_as_documented(feeding: Machine, fault: str, code: int) -> None:
    feeding.feed("--catch-up")
    feeding.clock.advance(hours(1))
    before = feeding.duckdb.read_bytes()
    feeding.exchange.requests.clear()
    feeding.exchange.faults = parse_faults(f"[[fault]]\n{fault}", "the test")
    # The exchange's silence is longer than a process is given here; what ends well may take its time.
    ran = feeding.feed("--max-wait-sec", "1.5" if code == 3 else "60")
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert (feeding.duckdb.read_bytes() == before) == (code != 0)


@pytest.mark.long
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Kolkata"])
def test_the_machines_time_zone_changes_nothing_in_the_store(feeding: Machine, zone: str) -> None:
    assert feeding.feed("--catch-up", TZ=zone).code == 0
    feeding.clock.advance(hours(1))
    ran = feeding.feed(TZ=zone)
    assert "target=2024-02-10 14:00" in ran.out
    with opened(feeding.duckdb, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        (row,) = connection.execute(
            "SELECT max(timestamp)::VARCHAR, abs(epoch(max(created_at)) - epoch(now())) < 3600 FROM ohlcv_btcusdt_1h"
        ).fetchall()
    assert row == ("2024-02-10 14:00:00", True)


@pytest.mark.long
def test_two_feeds_at_the_same_moment_append_once_and_both_are_content(feeding: Machine) -> None:
    feeding.feed("--catch-up")
    for _hour in range(3):
        feeding.clock.advance(hours(1))
        both = [feeding.start(), feeding.start()]
        outs = [each.communicate(timeout=60)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0]
        assert sorted(" appended=1 " in out for out in outs) == [False, True]


@pytest.mark.long
def test_a_store_held_by_another_process_is_waited_for_then_its_holder_is_named(feeding: Machine) -> None:
    feeding.feed("--catch-up")
    feeding.clock.advance(hours(1))
    with duckdb.connect(feeding.duckdb):
        ran = feeding.feed("--lock-timeout-sec", "0.3")
    assert ran.code == 4
    assert "is held by" in ran.err
    assert "PID" in ran.err
    assert feeding.feed().code == 0


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_a_watch_stops_in_its_long_sleep_with_exit_0(feeding: Machine, number: signal.Signals) -> None:
    # The next bar is due in an hour.
    watch = feeding.start("--watch", "--catch-up", "--sleep-sec", "3600")
    assert watch.stdout is not None
    assert "appended=726" in watch.stdout.readline()
    watch.send_signal(number)
    _, err = watch.communicate(timeout=60)
    assert (watch.returncode, "Traceback" in err) == (0, False)


@pytest.mark.long
def test_a_watch_stops_in_the_middle_of_a_cycle(feeding: Machine) -> None:
    # Nothing else ends the request: neither the exchange, nor the feed's own patience with it.
    (feeding.folder / "sitecustomize.py").write_text(
        "from barfeed.exchange.transport import single\nsingle.READ_TIMEOUT_SEC = 600.0\n"
    )
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "hang"\nsec = 600', "the test")
    path = f"{feeding.folder}:{feeding.environment().get('PYTHONPATH', '')}"
    watch = subprocess.Popen(
        feeding.command("--watch", "--catch-up", "--max-wait-sec", "600"),
        env=feeding.environment(PYTHONPATH=path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until(lambda: feeding.exchange.requests["/fapi/v1/klines"])
    finally:
        watch.terminate()
    assert watch.wait(60) == 0
    (manifest,) = feeding.artifacts.glob("*_run.json")
    assert json.loads(manifest.read_text())["status"] == "interrupted"
    assert not list((feeding.artifacts / ".unfinished").iterdir())


@pytest.mark.long
def test_a_watch_lives_the_hours_as_they_come(feeding: Machine) -> None:
    watch = feeding.start("--watch", "--catch-up", "--sleep-sec", "0.1", "--settle-sec", "0")
    assert watch.stdout is not None
    try:
        for hour in range(13, 17):
            assert f"target=2024-02-10 {hour}:00" in watch.stdout.readline()
            feeding.clock.advance(hours(1))
    finally:
        watch.terminate()
        watch.communicate(timeout=60)
    assert newest(feeding.duckdb) >= "2024-02-10 16:00:00"


def test_a_store_in_quotes_is_wrong_usage_and_makes_no_folder_of_that_name(feeding: Machine) -> None:
    line = f'BARFEED_DUCKDB="{feeding.folder}/own.duckdb"'
    ran = subprocess.run(
        [*FEED, "--catch-up"],
        env=feeding.environment(BARFEED_DUCKDB=line.partition("=")[2]),
        cwd=feeding.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "begins or ends with a quote" in ran.stderr
    assert "BARFEED_DUCKDB" in ran.stderr
    assert list(feeding.folder.iterdir()) == []


@pytest.mark.long
def test_a_store_is_only_started_saying_where_and_with_a_warning_where_one_was_expected(feeding: Machine) -> None:
    assert feeding.feed("--catch-up").err == f"INFO {feeding.duckdb} is a new store\n"
    feeding.clock.advance(hours(1))
    assert feeding.feed("--catch-up").err == ""
    # A disk that is not mounted, a variable with a slip of the pen.
    feeding.duckdb.rename(feeding.folder / "elsewhere.duckdb")
    feeding.clock.advance(hours(1))
    without = feeding.feed()
    assert (without.code, feeding.duckdb.exists()) == (1, False)
    ran = feeding.feed("--catch-up", "--json")
    warning = (
        f"a new history is started in {feeding.duckdb}, though {feeding.artifacts} holds earlier runs of the series"
    )
    assert ran.err == (
        f"INFO {feeding.duckdb} is a new store\nWARNING {warning}; if the old one is elsewhere, point --duckdb there\n"
    )
    assert (ran.code, json.loads(ran.out)["warnings"]) == (0, [warning])


def test_a_run_folder_that_cannot_be_written_is_exit_4_and_the_store_is_untouched(feeding: Machine) -> None:
    feeding.feed("--catch-up")
    feeding.clock.advance(hours(1))
    before = feeding.duckdb.read_bytes()
    target = feeding.folder / "a file"
    target.write_text("in the way")
    ran = feeding.feed("--persist-dir", str(target))
    assert ran.code == 4
    assert "cannot be written" in ran.err
    assert feeding.duckdb.read_bytes() == before


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; import barfeed.cli.main; print({'duckdb', 'urllib3', 'barfeed.replay'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

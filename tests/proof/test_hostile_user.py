"""A user who types anything: a right result or a clear refusal, no other table, no other file, no secret told."""

import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from barfeed.cli import main
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, UsageError
from barfeed.exchange.transport.single import open_transport
from barfeed.machine.clock import SystemClock
from barfeed.operate import logs
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import ROOT
from storage import opened
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
EXITS = {0, 1, 2, 3, 4, 5}
NASTY = [
    "", " ", "'", '"', "a'; DROP TABLE ohlcv_btcusdt_1h; --", "..", "../../out", "a/../../out", "a\nERROR forged",
    "\r\n", "a\tb", "a\x1b[31mred", "\x7f\x85\u009b31m", "💥", "\u202egnp", "币安人生USDT", "x" * 4000,
    "CON", "-rf", "--help",
    "~", "$HOME", "$(touch out)", "`touch out`", "; touch out", "%s%n%d", "{}{0}{x}", "a\\b", "a?b*c[d]", ":memory:",
    "postgres:dbname=x", "s3://b/k", "http://127.0.0.1:1/x", "\udcff\udcfe", "İ", "\u212abtc", "ß", "²",
]  # fmt: skip


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class _Left(BaseException):
    """In place of os._exit."""


class Desk:
    """Where a user sits: an exchange, a working folder, and a neighbour's folder that is none of the user's."""

    def __init__(self, folder: Path, url: str) -> None:
        self.home = folder / "home"
        self.home.mkdir()
        self.url = url
        (folder / "out").write_text("a neighbour's")

    def type(self, *words: str) -> Ran:
        """One command, in this process; the log goes where the process' would."""
        root, out, err = logging.getLogger(), io.StringIO(), io.StringIO()
        handlers, root.handlers = root.handlers, []
        sys.argv = ["barfeed", *words]
        code: object = None
        try:
            with redirect_stdout(out), redirect_stderr(err):
                main.main()
        except (_Left, SystemExit) as end:
            code = end.args[0]
        finally:
            root.handlers = handlers
        assert isinstance(code, int)
        return Ran(code, out.getvalue(), err.getvalue())

    def tables(self) -> list[str]:
        with opened(self.home / "data" / "ohlcv.duckdb", read_only=True) as connection:
            return [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]


def settle(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise _Left(code)

    monkeypatch.chdir(desk.home)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr("barfeed.cli.commands.feed.run.stop_on_signals", lambda: None)
    monkeypatch.setenv("BARFEED_BASE_URL", desk.url)
    monkeypatch.setenv("BARFEED_MAX_SKEW_SEC", "1e10")
    monkeypatch.setenv("BARFEED_MAX_WAIT_SEC", "1")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A desk where the feed has lived its first hour, to be copied."""
    exchange = ReplayExchange(
        [Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(400), 1400))],
        HandClock(TARGET_MS + hours(1) + 30_000).now_ms,
        weight_limit=10**9,
    )
    with ReplayServer(exchange) as server:
        made = Desk(tmp_path_factory.mktemp("begun"), server.url)
        with pytest.MonkeyPatch.context() as monkeypatch:
            settle(made, monkeypatch)
            started = made.type("run", "--catch-up", "--max-wait-sec", "60")
        assert started.code == 0, started.err
        yield made


@pytest.fixture
def desk(begun: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    made = Desk(tmp_path, begun.url)
    shutil.copytree(begun.home, made.home, dirs_exist_ok=True)
    settle(made, monkeypatch)
    return made


def spellings(word: str) -> list[tuple[str, ...]]:
    """Places of every command where a user can put a word; `replay` serves for ever and is not here."""
    return [
        ("run", "--dataset", word),
        ("run", "--persist-dir", f"feeds/{word}"),
        ("run", "--symbol", word),
        ("run", "--interval", word),
        ("run", "--config", word),
        ("run", "--base-url", word),
        ("run", "--base-url", f"http://127.0.0.1:1/{word}"),
        ("run", "--duckdb", f"stores/{word}"),
        ("run", "--catch-up", "--duckdb", f"stores/{word}.duckdb", "--persist-dir", "other"),
        ("export", word),
        ("export", f"{word}.csv"),
        ("export", "x.csv", "--symbol", word),
        ("export", "x.csv", "--from", word),
        ("repair", "--yes", "--reason", word),
        ("revisions", "--symbol", word),
        ("revisions", "--duckdb", f"stores/{word}"),
        ("verify", "--dataset", word),
        ("status", "--dataset", word),
        ("status", "--duckdb", f"stores/{word}"),
        ("prune", "--dataset", word),
        ("prune", word),
        ("backfill", "--source", "csv", word),
        ("backfill", "--archive-url", word),
        ("backfill", "--cache-dir", f"cache/{word}"),
        ("run", "--metrics-file", f"{word}.prom"),
        ("run", "--alert", word),
        ("run", "--heartbeat-url", word),
        ("run", "--stream-url", word),
        ("run", "--listen", word),
        ("run", "--log-format", word),
        ("run", "--on-mismatch", word),
        ("export", "x.csv", "--as-of", word),
        ("verify", "--against", word),
        ("doctor", "--dataset", word),
        ("doctor", "--base-url", word),
        ("doctor", "--duckdb", f"stores/{word}"),
        ("doctor", "--metrics-file", f"{word}.prom"),
        ("alert", "test", "--alert", word),
        (word,),
    ]


def test_the_page_says_how_many_words_are_tried_and_where() -> None:
    page = (ROOT / "docs" / "proof.md").read_text("utf-8")
    assert f"{len(NASTY)} words" in page
    assert f"in each of {len(spellings('x'))} places" in page


def outside(desk: Desk) -> dict[str, bytes]:
    """Everything beside the user's own folder."""
    return {
        str(path): path.read_bytes()
        for path in desk.home.parent.rglob("*")
        if path.is_file() and desk.home not in path.parents
    }


def check(desk: Desk, words: tuple[str, ...]) -> None:
    ran = desk.type(*words)
    shown = ran.err + ran.out
    assert ran.code in EXITS, shown
    assert "Traceback" not in shown
    assert "this is a bug in barfeed" not in shown
    assert shown.replace("\n", "").isprintable(), repr(shown)
    assert not any(line.startswith("ERROR forged") for line in shown.splitlines())


ORDINARY = ["a'; DROP TABLE ohlcv_btcusdt_1h; --", "\udcff\udcfe"]


@pytest.mark.long
@pytest.mark.parametrize("word", ORDINARY, ids=ascii)
def test_a_hostile_word_is_used_or_refused_wherever_it_stands(word: str, desk: Desk) -> None:
    before = outside(desk)
    for words in spellings(word):
        check(desk, words)
    assert desk.tables() == ["ohlcv_btcusdt_1h"]
    assert outside(desk) == before


@pytest.mark.long
@pytest.mark.parametrize("word", NASTY, ids=ascii)
def test_every_hostile_word_is_used_or_refused_wherever_it_stands(word: str, desk: Desk) -> None:
    before = outside(desk)
    inside = set(desk.home.iterdir())
    for words in spellings(word):
        check(desk, words)
    assert desk.tables() == ["ohlcv_btcusdt_1h"]
    if ".." not in word:
        assert outside(desk) == before
    # A path may be the user's own choice; a shell's word is nobody's.
    assert "/out" in word or all(path.name != "out" for path in set(desk.home.iterdir()) - inside)


@pytest.mark.parametrize("label", NASTY, ids=ascii)
def test_no_label_leaves_the_artifact_folder(label: str) -> None:
    from barfeed.artifacts.writing import slug  # noqa: PLC0415

    named = Path("root", slug(label))
    assert named.parent == Path("root")
    assert named.name not in {"", ".", ".."}
    assert set(named.name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


CONFIGS: dict[str, str | bytes] = {
    "deep": "a = " + "[" * 100_000,
    "a huge whole number": "max_wait_sec = " + "9" * 4000,
    "a whole number without end": "n_recent = " + "9" * 50_000,
    "a number for a path": "duckdb = 5",
    "a name with escapes": '"\\u001b[31m" = 1',
    "a value with escapes": 'interval = "\\u001b[31m\\nERROR forged"',
    "a NUL": 'duckdb = "a\\u0000b"',
    "a table": "[run]\nn_recent = 5",
    "a date": "n_recent = 1979-05-27",
    "infinity": "sleep_sec = inf",
    "no number": "accept_within = nan",
    "UTF-16": "n_recent = 5".encode("utf-16"),
    "nothing of TOML": "\x1b[2J\x00\x01",
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_is_none_is_wrong_usage(content: str | bytes, desk: Desk) -> None:
    path = desk.home / "feed.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    check(desk, ("run", "--config", str(path)))
    assert desk.type("run", "--config", str(path)).code == 2


def test_another_labels_folder_is_not_taken_over(started_twice: tuple[World, Series]) -> None:
    world, other = started_twice
    latest = (world.feed.folder / "latest_for_inference.csv").read_bytes()
    record = world.run(catch_up=True, series=other, dataset="BINANCE?BTCUSDT.P 60")
    assert (record.exit_code, record.status) == (4, "artifacts_unusable")
    assert record.failure is not None
    assert "holds the runs of 'BTCUSDT 1h', not of ETHUSDT 1h" in record.failure.message
    assert (world.feed.folder / "latest_for_inference.csv").read_bytes() == latest
    assert world.run().exit_code == 0


@pytest.fixture
def started_twice(tmp_path: Path) -> tuple[World, Series]:
    other = Series.of("ETHUSDT", "1h")
    tapes = [Tape.of(each, made_up_bars(TARGET_MS, 1000, each.symbol)) for each in (BTCUSDT_1H, other)]
    world = World(tmp_path, tapes, TARGET_MS + hours(1) + 30_000)
    assert world.run(catch_up=True).exit_code == 0
    return world, other


@pytest.mark.parametrize("symbol", ["\u212aBTC", "\u2126BTC", "İBTC", "\u212bBTC"], ids=ascii)
def test_a_symbol_that_would_share_anothers_table_is_refused(symbol: str) -> None:
    with pytest.raises(UsageError):
        Series.of(symbol, "1h")


@pytest.mark.parametrize("name", ["bars*.csv", "bars?.csv", "bars[1].csv", "it's {0}.csv", "%s.csv", "$HOME.csv"])
def test_a_users_file_is_read_by_its_very_name(name: str, desk: Desk) -> None:
    head = "timestamp,open,high,low,close,volume\n"
    (desk.home / "bars1.csv").write_text(head + "2024-01-01 00:00:00,1,1,1,1,1\n")
    (desk.home / "barsx.csv").write_text(head + "2024-01-01 01:00:00,1,1,1,1,1\n")
    (desk.home / name).write_text(head + "2024-01-01 02:00:00,1,1,1,1,1\n")
    ran = desk.type("backfill", "--source", "csv", "--duckdb", "own.duckdb", name)
    assert ran.code == 0, ran.err
    with opened(desk.home / "own.duckdb", read_only=True) as connection:
        held = connection.execute("SELECT CAST(timestamp AS VARCHAR) FROM ohlcv_btcusdt_1h").fetchall()
    assert held == [("2024-01-01 02:00:00",)]


@pytest.mark.parametrize("close_time", ["abc", "", "infinity", "NaN"])
def test_a_close_time_that_is_no_moment_is_no_bar(close_time: str, desk: Desk) -> None:
    (desk.home / "x.csv").write_text(f"1704067200000,1,1,1,1,1,{close_time},1,1,1,1,0\n")
    ran = desk.type("backfill", "--source", "csv", "--duckdb", "own.duckdb", "x.csv")
    assert (ran.code, "a row is no bar" in ran.err) == (2, True)


SECRET = "hunter2"


@pytest.mark.parametrize("flag", ["--base-url", "--archive-url"])
@pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["", "debug"])
def test_a_password_in_an_address_is_refused_and_not_repeated(flag: str, debug: tuple[str, ...], desk: Desk) -> None:
    command = "run" if flag == "--base-url" else "backfill"
    ran = desk.type(command, flag, f"http://me:{SECRET}@127.0.0.1:1", *debug)
    assert ran.code == 2
    assert SECRET not in ran.out + ran.err
    assert flag in ran.err


@pytest.mark.parametrize(
    "proxy", ["http://me:{}@127.0.0.1:1", "me:{}@127.0.0.1:1", "http://me:{}@[::1", "ftp://me:{}@x"]
)
def test_a_proxys_password_is_told_nobody(proxy: str, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.format(SECRET))
    monkeypatch.setenv("no_proxy", "")
    ran = desk.type("run", "--catch-up", "--base-url", "http://exchange.invalid", "--debug", "--persist-dir", "p")
    assert ran.code in {2, 3}
    manifests = "".join(path.read_text() for path in desk.home.glob("p/*/*.json"))
    assert SECRET not in ran.out + ran.err + manifests
    with pytest.raises((BarfeedError, Exception)) as told:
        open_transport("http://exchange.invalid", SystemClock())("http://exchange.invalid/x", 1.0)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("words", [("run", "--alert", "json://a"), ("run", "--max-wait-sec"), (), ("alert",)])
def test_an_address_astray_is_not_repeated(words: tuple[str, ...], desk: Desk) -> None:
    ran = desk.type(*words, "json://hook.example/sesame")
    assert ran.code == 2
    assert "json://..." in ran.err
    assert "sesame" not in ran.out + ran.err


def test_a_bucket_is_no_secret_and_what_it_is_like_is_told(desk: Desk) -> None:
    ran = desk.type("run", "--lake", "s3://b")
    assert (ran.code, "'s3://b' is not an address like s3://bucket/prefix\n" in ran.err) == (2, True), ran


@pytest.mark.parametrize(
    "text", ["http://h/\nX: y", " http://h", "http://h/\x1b[31m", "http://h/ü", "http://h\t/"], ids=ascii
)
def test_an_address_with_what_nobody_sees_is_refused(text: str, desk: Desk) -> None:
    ran = desk.type("run", "--base-url", text)
    assert (ran.code, "is not an address" in ran.err) == (2, True)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", "\u202e", "\udcff", "\x85", "\t", "币安"], ids=ascii)
def test_a_line_stays_one_line_that_a_terminal_only_shows(text: str) -> None:
    shown = logs.printable(text)
    assert shown.isprintable()
    assert shown == ("币安" if text == "币安" else ascii(text)[1:-1])


@pytest.mark.long
def test_a_working_folder_that_is_gone_is_no_bug(tmp_path: Path) -> None:
    script = (
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); from barfeed.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "status"],
        cwd=tmp_path,
        env=os.environ | {"BARFEED_BASE_URL": "http://127.0.0.1:1", "BARFEED_MAX_WAIT_SEC": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr

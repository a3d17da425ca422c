import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from barfeed.cli import settings
from barfeed.cli.main import COMMANDS, barfeed
from barfeed.cli.settings import Settings, settings_options
from barfeed.domain.errors import UsageError

Ask = Callable[..., Settings]


@click.command()
@settings_options
def command(**values: Any) -> Settings:
    settings = Settings(**values)
    settings.series()
    return settings


@pytest.fixture(autouse=True)
def _no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in (*(field.name for field in dataclasses.fields(Settings)), "config"):
        monkeypatch.delenv(settings.variable(field), raising=False)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """The settings that flags, variables and a TOML file make together."""

    def read(*flags: str, toml: str | bytes | None = None, **variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        if toml is not None:
            path = tmp_path / "feed.toml"
            path.write_bytes(toml if isinstance(toml, bytes) else toml.encode())
            flags = (*flags, "--config", str(path))
        settings = command.main(list(flags), standalone_mode=False)
        assert isinstance(settings, Settings)
        return settings

    return read


def refusal(ask: Ask, *flags: str, **given: Any) -> str:
    """What a wrong value is told as; both kinds of error end the process with exit 2."""
    with pytest.raises((click.UsageError, UsageError)) as told:
        ask(*flags, **given)
    error = told.value
    assert isinstance(error, click.UsageError | UsageError)
    assert error.exit_code == 2
    return error.format_message() if isinstance(error, click.UsageError) else str(error)


def test_the_defaults_are_the_documented_ones(ask: Ask) -> None:
    assert dataclasses.asdict(ask()) == {
        "n_recent": 6,
        "duckdb": Path("data/ohlcv.duckdb"),
        "store": "",
        "persist_dir": Path("data/feed"),
        "dataset": "",
        "buffer_hours": 6,
        "min_window_hours": 0,
        "inference_source": "db",
        "lake": "",
        "plain_decimals": False,
        "watch": False,
        "sleep_sec": 300.0,
        "dry_run": False,
        "debug": False,
        "symbol": "BTCUSDT",
        "interval": "1h",
        "symbols": "",
        "intervals": "",
        "csv_for": "",
        "window_hours": 0,
        "weight_budget": 0,
        "kinds": "",
        "catch_up": False,
        "base_url": "https://fapi.binance.com",
        "spot_url": "https://api.binance.com",
        "max_wait_sec": 120.0,
        "settle_sec": 10.0,
        "max_skew_sec": 5.0,
        "lock_timeout_sec": 30.0,
        "then": "",
        "then_timeout_sec": 600.0,
        "retain_days": 0,
        "on_mismatch": "fail",
        "accept_within": 0.001,
        "accept_volume_within": 0.2,
        "pause_sec": 5.0,
        "json": False,
        "stream": False,
        "stream_url": "wss://fstream.binance.com/market",
        "confirm_reads": 1,
        "alert": (),
        "heartbeat_url": "",
        "metrics_file": None,
        "listen": "",
        "log_format": "text",
    }
    assert ask().series().dataset == "BINANCE_BTCUSDT.P, 60"


# One value of each setting that is not its default: as a flag or variable, as TOML, as it is read.
EVERY = {
    "n_recent": ("9", "9", 9),
    "duckdb": ("x/y.duckdb", "'x/y.duckdb'", Path("x/y.duckdb")),
    "store": ("postgresql://db/market", "'postgresql://db/market'", "postgresql://db/market"),
    "persist_dir": ("feed", "'feed'", Path("feed")),
    "dataset": ("MINE, 60", "'MINE, 60'", "MINE, 60"),
    "buffer_hours": ("0", "0", 0),
    "min_window_hours": ("48", "48", 48),
    "inference_source": ("api", "'api'", "api"),
    "lake": ("s3://bars/lake", "'s3://bars/lake'", "s3://bars/lake"),
    "plain_decimals": (None, "true", True),
    "watch": (None, "true", True),
    "sleep_sec": ("0.05", "0.05", 0.05),
    "dry_run": (None, "true", True),
    "debug": (None, "true", True),
    "symbol": ("ETHUSDT", "'ETHUSDT'", "ETHUSDT"),
    "interval": ("15m", "'15m'", "15m"),
    "symbols": ("all,!DOGE*", "'all,!DOGE*'", "all,!DOGE*"),
    "intervals": ("1h,4h", "'1h,4h'", "1h,4h"),
    "csv_for": ("BTCUSDT", "'BTCUSDT'", "BTCUSDT"),
    "window_hours": ("12", "12", 12),
    "weight_budget": ("600", "600", 600),
    "kinds": ("klines,funding", "'klines,funding'", "klines,funding"),
    "catch_up": (None, "true", True),
    "base_url": ("http://127.0.0.1:8080", "'http://127.0.0.1:8080'", "http://127.0.0.1:8080"),
    "spot_url": ("http://127.0.0.1:8080", "'http://127.0.0.1:8080'", "http://127.0.0.1:8080"),
    "max_wait_sec": ("1", "1", 1.0),
    "settle_sec": ("0", "0", 0.0),
    "max_skew_sec": ("0.5", "0.5", 0.5),
    "lock_timeout_sec": ("0", "0", 0.0),
    "then": ("echo $X", "'echo $X'", "echo $X"),
    "then_timeout_sec": ("1", "1", 1.0),
    "retain_days": ("90", "90", 90),
    "on_mismatch": ("accept", "'accept'", "accept"),
    "accept_within": ("0.01", "0.01", 0.01),
    "accept_volume_within": ("0.5", "0.5", 0.5),
    "pause_sec": ("0", "0", 0.0),
    "json": (None, "true", True),
    "stream": (None, "true", True),
    "stream_url": ("ws://127.0.0.1:8080/market", "'ws://127.0.0.1:8080/market'", "ws://127.0.0.1:8080/market"),
    "confirm_reads": ("2", "2", 2),
    "alert": ("ntfy://feed", "['ntfy://feed']", ("ntfy://feed",)),
    "heartbeat_url": ("https://hc.example.org/x?y", "'https://hc.example.org/x?y'", "https://hc.example.org/x?y"),
    "metrics_file": ("feed.prom", "'feed.prom'", Path("feed.prom")),
    "listen": ("127.0.0.1:9464", "'127.0.0.1:9464'", "127.0.0.1:9464"),
    "log_format": ("json", "'json'", "json"),
}


def test_every_setting_is_in_the_tables_of_this_file() -> None:
    assert set(EVERY) == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", EVERY)
def test_every_setting_comes_from_a_flag_a_variable_or_the_file(ask: Ask, name: str) -> None:
    text, toml, value = EVERY[name]
    flag = f"--{name.replace('_', '-')}"
    assert getattr(ask(*([flag] if text is None else [flag, text])), name) == value
    assert getattr(ask(toml=f"{name} = {toml}"), name) == value
    assert getattr(ask(**{f"BARFEED_{name.upper()}": text or "1"}), name) == value


def test_a_flag_wins_over_a_variable_and_a_variable_over_the_file(ask: Ask) -> None:
    assert ask(toml="n_recent = 7").n_recent == 7
    assert ask(toml="n_recent = 7", BARFEED_N_RECENT="8").n_recent == 8
    assert ask("--n-recent", "9", toml="n_recent = 7", BARFEED_N_RECENT="8").n_recent == 9
    assert ask("--n-recent", "6", toml="n_recent = 7", BARFEED_N_RECENT="8").n_recent == 6


def test_the_file_itself_may_come_from_a_variable(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("n_recent = 7")
    assert ask(BARFEED_CONFIG=str(tmp_path / "mine.toml")).n_recent == 7


@pytest.mark.parametrize(
    ("flags", "given"), [(["--once"], {"BARFEED_WATCH": "1"}), (["--once"], {"toml": "watch = true"})]
)
def test_once_wins_over_a_watch_from_elsewhere(ask: Ask, flags: list[str], given: dict[str, str]) -> None:
    assert ask(**given).watch is True
    assert ask(*flags, **given).watch is False


def test_an_empty_variable_is_none(ask: Ask) -> None:
    assert ask(BARFEED_N_RECENT="", toml="n_recent = 7").n_recent == 7


RANGES = [
    ("n_recent", "1", "2<=x<=1500"),
    ("n_recent", "1501", "2<=x<=1500"),
    ("n_recent", "-5", "2<=x<=1500"),
    ("buffer_hours", "-1", "0<=x<=8760"),
    ("buffer_hours", "8761", "0<=x<=8760"),
    ("min_window_hours", "-1", "0<=x<=9480"),
    ("min_window_hours", "9481", "0<=x<=9480"),
    ("sleep_sec", "0.04", "0.05<=x<=3600"),
    ("sleep_sec", "3601", "0.05<=x<=3600"),
    ("max_wait_sec", "0.9", "1<=x<=3000"),
    ("max_wait_sec", "3001", "1<=x<=3000"),
    ("settle_sec", "-0.1", "0<=x<=600"),
    ("settle_sec", "601", "0<=x<=600"),
    ("settle_sec", "inf", "0<=x<=600"),
    ("max_skew_sec", "-1", "0<=x<=10000000000.0"),
    ("max_skew_sec", "inf", "0<=x<=10000000000.0"),
    ("lock_timeout_sec", "-1", "0<=x<=3000"),
    ("lock_timeout_sec", "3001", "0<=x<=3000"),
    ("then_timeout_sec", "0.9", "1<=x<=3000"),
    ("then_timeout_sec", "3001", "1<=x<=3000"),
    ("window_hours", "-1", "0<=x<=9480"),
    ("window_hours", "9481", "0<=x<=9480"),
    ("weight_budget", "-1", "0<=x<=100000"),
    ("weight_budget", "100001", "0<=x<=100000"),
    ("retain_days", "-1", "0<=x<=36500"),
    ("retain_days", "36501", "0<=x<=36500"),
    ("accept_within", "-0.1", "0<=x<=1"),
    ("accept_within", "1.1", "0<=x<=1"),
    ("accept_volume_within", "-0.1", "0<=x<=100"),
    ("accept_volume_within", "101", "0<=x<=100"),
    ("pause_sec", "-1", "0<=x<=600"),
    ("pause_sec", "601", "0<=x<=600"),
    ("confirm_reads", "0", "1<=x<=2"),
    ("confirm_reads", "3", "1<=x<=2"),
]


def test_fewer_hours_than_all_are_no_more_than_all(ask: Ask) -> None:
    assert ask("--min-window-hours", "726").series()
    with pytest.raises(UsageError, match=r"--min-window-hours 727 is more than the whole window: 720 and .* 6"):
        ask("--min-window-hours", "727").series()
    assert ask("--min-window-hours", "727", "--buffer-hours", "7").series()
    with pytest.raises(UsageError, match=r"--min-window-hours 13 is more than --window-hours 12"):
        ask("--min-window-hours", "13", "--window-hours", "12").series()


def test_every_number_has_a_range_that_is_tested() -> None:
    numbers = {field.name for field in dataclasses.fields(Settings) if isinstance(field.default, (int, float))}
    switches = {field.name for field in dataclasses.fields(Settings) if isinstance(field.default, bool)}
    assert {name for name, _, _ in RANGES} == numbers - switches


@pytest.mark.parametrize(("name", "value", "span"), RANGES)
def test_a_value_out_of_range_names_flag_value_and_range(ask: Ask, name: str, value: str, span: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    by_flag = refusal(ask, flag, value)
    by_file = refusal(ask, toml=f"{name} = {value}")
    by_variable = refusal(ask, **{f"BARFEED_{name.upper()}": value})
    for said, named in ((by_flag, flag), (by_variable, flag), (by_file, name)):
        assert named in said
        assert value.removesuffix(".0") in said
        assert span in said


@pytest.mark.parametrize(
    "flags",
    [
        ["--n-recent", "2"],
        ["--n-recent", "1500"],
        ["--buffer-hours", "8760"],
        ["--sleep-sec", "3600"],
        ["--max-wait-sec", "3000"],
        ["--settle-sec", "600"],
        ["--max-skew-sec", "1e10"],
        ["--lock-timeout-sec", "3000"],
        ["--interval", "1m", "--settle-sec", "59.9"],
        ["--dataset", "x" * 200],
    ],
)
def test_the_ends_of_a_range_belong_to_it(ask: Ask, flags: list[str]) -> None:
    ask(*flags)


@pytest.mark.parametrize("name", [name for name in EVERY if name.endswith("_sec")])
def test_nan_is_in_no_range(ask: Ask, name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    for said in (
        refusal(ask, flag, "nan"),
        refusal(ask, toml=f"{name} = nan"),
        refusal(ask, **{f"BARFEED_{name.upper()}": "NaN"}),
    ):
        assert flag in said
        assert "nan" in said


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        (["--n-recent", "six"], ["--n-recent", "'six'"]),
        (["--n-recent", "6.5"], ["--n-recent", "'6.5'"]),
        (["--settle-sec", "soon"], ["--settle-sec", "'soon'"]),
        (["--inference-source", "DB"], ["--inference-source", "'DB'", "'db', 'api', 'db,api'"]),
        (["--symbol", "BTC/USDT"], ["--symbol", "'BTC/USDT'", "1 to 40 letters"]),
        (["--interval", "1w"], ["--interval", "'1w'", "1m 3m 5m"]),
        (["--interval", "1m", "--settle-sec", "60"], ["--settle-sec 60", "--interval 1m"]),
        (["--dataset", "x" * 201], ["--dataset", "201", "200"]),
        (["--base-url", "fapi.binance.com"], ["--base-url", "'fapi.binance.com'"]),
        (["--base-url", "ftp://fapi.binance.com"], ["--base-url", "'ftp://fapi.binance.com'"]),
        (["--base-url", "https://"], ["--base-url", "'https://'"]),
        (["--base-url", "https://x/?a=1"], ["--base-url", "'https://x/?a=1'"]),
        (["--base-url", "https://x/#a"], ["--base-url", "'https://x/#a'"]),
        (["--base-url", ""], ["--base-url", "''"]),
        (["--metrics-file", "feed.txt"], ["--metrics-file", "'feed.txt'", ".prom"]),
        (["--metrics-file", "/var/prom"], ["--metrics-file", "'/var/prom'", ".prom"]),
        (["--n-recnt", "6"], ["--n-recnt", "--n-recent"]),
        (["--config", "/nowhere.toml"], ["--config", "/nowhere.toml"]),
        (["--config", "/"], ["--config", "'/'"]),
    ],
)
def test_a_value_that_cannot_be_used_is_told(ask: Ask, flags: list[str], names: list[str]) -> None:
    said = refusal(ask, *flags)
    assert [name for name in names if name not in said] == []


def test_a_variable_that_cannot_be_used_is_told(ask: Ask) -> None:
    said = refusal(ask, BARFEED_DRY_RUN="maybe")
    assert "--dry-run" in said
    assert "'maybe'" in said


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("n_rcent = 6", "'n_rcent' is not a setting; did you mean 'n_recent'?"),
        ("n-recent = 6", "'n-recent' is not a setting; did you mean 'n_recent'?"),
        ("config = 'x'", "'config' is not a setting"),
        ("help = true", "'help' is not a setting"),
        ("BARFEED_N_RECENT = 6", "'BARFEED_N_RECENT' is not a setting; did you mean 'n_recent'?"),
        ("[run]\nn_recent = 6", "[run] is a table, and settings stand in none"),
        ("duckdb = 'x'\nrun.n_recent = 6", "[run] is a table, and settings stand in none"),
        ("[tool.barfeed]\nn_recent = 6", "[tool.barfeed] is a table, and settings stand in none"),
        ("[[run]]\nn_recent = 6", "[[run]] is a table, and settings stand in none"),
        ("n_recent = 6".encode("utf-16"), "is UTF-16 text, expected UTF-8"),
        ("n_recent = 'six'", "n_recent = 'six'"),
        ("inference_source = 'DB'", "inference_source = 'DB'"),
        ("watch = 'once'", "watch = 'once'"),
        ("n_recent = ", "cannot be read as TOML"),
        ("n_recent = 6\nn_recent = 7", "cannot be read as TOML"),
        (b"\xff", "cannot be read as TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_its_name(ask: Ask, toml: str | bytes, says: str) -> None:
    said = refusal(ask, toml=toml)
    assert says in said
    assert "feed.toml" in said


@pytest.mark.parametrize(
    "lines", [["[run]"], ["[barfeed.run]"], ["[barfeed]", "[barfeed.run]"], ["[tool.barfeed.run]"], ["[[run]]"]]
)
def test_the_line_of_a_table_taken_out_as_the_hint_says_the_file_is_good(ask: Ask, lines: list[str]) -> None:
    rows = ["symbol = 'ETHUSDT'", "n_recent = 7"][2 - len(lines) :]
    toml = "".join(f"{line}\n{row}\n" for line, row in zip(lines, rows, strict=True))
    with pytest.raises(UsageError) as told:
        ask(toml=toml)
    assert told.value.hint == f"take the line{'s' if len(lines) > 1 else ''} {', '.join(lines)} out"
    assert ask(toml="\n".join(row for row in toml.splitlines() if row not in lines)).n_recent == 7


@pytest.mark.parametrize("toml", ["run.n_recent = 7", "run = {n_recent = 7}", "[ run ]\nn_recent = 7"])
def test_a_table_that_no_line_begins_is_told_without_one(ask: Ask, toml: str) -> None:
    with pytest.raises(UsageError) as told:
        ask(toml=toml)
    assert told.value.hint == "write each key by itself, at the top of the file: n_recent = 6"
    assert ask(toml=told.value.hint.rpartition(": ")[2]).n_recent == 6


@pytest.mark.parametrize("text", ["db, api", "db ,api", " db , api ", "db,api\r"])
def test_a_list_may_have_blanks_in_it(ask: Ask, text: str) -> None:
    assert ask("--inference-source", text).inference_source == "db,api"
    assert ask(BARFEED_INFERENCE_SOURCE=text).inference_source == "db,api"
    assert ask(toml=f"inference_source = {json.dumps(text)}").inference_source == "db,api"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_as_an_editor_of_windows_saves_it_is_good(ask: Ask, ends: str) -> None:
    toml = ends.join(["n_recent = 7", "symbol = 'ETHUSDT'", ""]).encode("utf-8-sig")
    assert toml.startswith(b"\xef\xbb\xbf")
    assert (ask(toml=toml).n_recent, ask(toml=toml).symbol) == (7, "ETHUSDT")


# What each is: a line of an environment file that no shell reads, and the like. None of it is a path that is meant.
UNMEANT = {
    "$HOME/x.prom": "holds $HOME, which nobody has replaced",
    "/srv/${BARFEED}/x.prom": "holds ${BARFEED}, which nobody has replaced",
    "$(pwd)/x.prom": "holds $(pwd), which nobody has replaced",
    "%USERPROFILE%/x.prom": "holds %USERPROFILE%, which nobody has replaced",
    "%h/x.prom": "holds %h, which nobody has replaced",
    "~nobody-of-that-name/x.prom": "begins with the home of nobody",
    '"/srv/x.prom"': "begins or ends with a quote",
    "'/srv/x.prom'": "begins or ends with a quote",
    '/srv/x.prom"': "begins or ends with a quote",
    "“/srv/x.prom”": "begins or ends with a quote",
    "/srv/x.prom\r": "begins or ends with a blank or a line break",
    "/srv/x.prom ": "begins or ends with a blank or a line break",
    " /srv/x.prom": "begins or ends with a blank or a line break",
    "/srv/x.prom\n": "begins or ends with a blank or a line break",
    "\ufeff/srv/x.prom": "begins or ends with a blank or a line break",
    "/srv/x.prom\u00a0": "begins or ends with a blank or a line break",
    "file:///srv/x.prom": "is no path on this machine",
    "s3://bucket/x.prom": "is no path on this machine",
    ":memory:": "is no path on this machine",
    "C:\\srv\\x.prom": "is a path of Windows",
    "C:/srv/x.prom": "is a path of Windows",
}


@pytest.mark.parametrize("name", ["duckdb", "persist_dir", "metrics_file"])
@pytest.mark.parametrize("text", UNMEANT)
def test_a_path_that_only_a_shell_could_read_is_refused_wherever_it_comes_from(ask: Ask, name: str, text: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    quoted = json.dumps(text)
    said = [refusal(ask, flag, text), refusal(ask, toml=f"{name} = {quoted}")]
    said.append(refusal(ask, **{f"BARFEED_{name.upper()}": text}))
    assert [each for each in said if UNMEANT[text] not in each] == []


@pytest.mark.parametrize("name", ["duckdb", "persist_dir", "metrics_file"])
def test_a_home_is_the_one_that_a_shell_would_have_written(
    ask: Ask, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    said = subprocess.run(["sh", "-c", "echo ~/x.prom"], capture_output=True, text=True, check=True).stdout.strip()
    assert said == f"{tmp_path}/x.prom"
    assert getattr(ask(f"--{name.replace('_', '-')}=~/x.prom"), name) == Path(said)
    assert getattr(ask(toml=f"{name} = '~/x.prom'"), name) == Path(said)
    assert getattr(ask(**{f"BARFEED_{name.upper()}": "~/x.prom"}), name) == Path(said)


@pytest.mark.parametrize(
    "text",
    ["o'brien/x.duckdb", "a~b/x.duckdb", "./~", "my data/x.duckdb", "100%/x.duckdb", "caf%C3%A9/x.duckdb", "share$/x",
     "币安人生/x.duckdb", "a\\b.duckdb", "x:y/z.duckdb", "50%of/b%c"],
)  # fmt: skip
def test_an_odd_path_that_is_meant_is_taken_as_it_is(ask: Ask, text: str) -> None:
    assert ask("--duckdb", text).duckdb == Path(text)


@pytest.mark.parametrize("text", ['"MINE, 60"', "MINE, 60\r", " MINE"])
def test_a_label_with_what_an_environment_file_left_makes_no_folder_of_its_own(ask: Ask, text: str) -> None:
    assert "--dataset" in refusal(ask, BARFEED_DATASET=text)


@pytest.mark.parametrize(
    "toml", ["n_recent = 6.7", "buffer_hours = true", "settle_sec = true", "symbol = 5", "dataset = 2024-01-01"]
)
def test_a_toml_value_of_another_type_is_refused(ask: Ask, toml: str) -> None:
    refusal(ask, toml=toml)


@pytest.mark.parametrize(
    "toml",
    [
        "n_recent = [1]",
        "duckdb = 5",
        "duckdb = ['x']",
        "persist_dir = true",
        "dry_run = 2",
        "dry_run = 1.5",
        "json = {}",
    ],
)
def test_a_toml_value_that_is_no_text_number_or_switch_is_refused(ask: Ask, toml: str) -> None:
    refusal(ask, toml=toml)


SECRET = "t0ken-of-mine"


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        (["--alert", SECRET], {}),
        (["--alert", "ntfy://feed", "--alert", f"ntfy:{SECRET}"], {}),
        (["--alert", f"ntfy://{SECRET}\udcff"], {}),
        (["--heartbeat-url", SECRET], {}),
        (["--heartbeat-url", f"ftp://hc.example.org/{SECRET}"], {}),
        (["--heartbeat-url", f"http://hc.example.org/{SECRET}\udcff"], {}),
        ([], {"BARFEED_ALERT": f"ntfy://feed {SECRET}"}),
        ([], {"toml": f"alert = 'ntfy://{SECRET}'"}),
        ([], {"toml": f"alert = ['{SECRET}']"}),
        ([], {"toml": f"alert = ['ntfy://{SECRET}', 5]"}),
        ([], {"toml": f"heartbeat_url = ['{SECRET}']"}),
    ],
)
def test_an_address_that_may_hold_a_token_is_refused_without_showing_it(
    ask: Ask, flags: list[str], given: dict[str, str]
) -> None:
    said = refusal(ask, *flags, **given)
    assert "alert" in said or "heartbeat" in said
    assert SECRET not in said


def test_channels_come_one_by_one_or_as_a_list_or_separated_by_spaces(ask: Ask) -> None:
    both = ("ntfy://feed", "mailto://me:pw@example.org")
    assert ask("--alert", both[0], "--alert", both[1]).alert == both
    assert ask(BARFEED_ALERT=" ".join(both)).alert == both
    assert ask(toml=f"alert = {list(both)}").alert == both


def test_neither_the_settings_nor_the_help_show_a_token(ask: Ask, tmp_path: Path) -> None:
    assert SECRET not in repr(ask("--alert", f"ntfy://{SECRET}", "--heartbeat-url", f"http://x/{SECRET}"))
    (tmp_path / "mine.toml").write_text(f"alert = ['ntfy://{SECRET}']\nheartbeat_url = 'http://x/{SECRET}'")
    shown = CliRunner().invoke(command, ["--config", str(tmp_path / "mine.toml"), "--help"])
    assert "--heartbeat-url" in shown.output
    assert SECRET not in shown.output


def test_an_address_that_cannot_even_be_split_is_refused(ask: Ask) -> None:
    assert "--base-url" in refusal(ask, "--base-url", "http://[::1")


@pytest.mark.parametrize("url", ["http://x:99999", "http://x:abc", "http://a..b", "http://exa mple.com"])
def test_an_address_without_a_possible_host_or_port_is_refused(ask: Ask, url: str) -> None:
    assert "--base-url" in refusal(ask, "--base-url", url)


@pytest.mark.parametrize("url", ["http://user:secret@x", "https://x@y"])
def test_an_address_with_credentials_is_refused_for_they_would_be_in_every_manifest(ask: Ask, url: str) -> None:
    assert "--base-url" in refusal(ask, "--base-url", url)


@pytest.mark.parametrize("flag", ["--dataset", "--duckdb", "--persist-dir", "--symbol"])
def test_a_text_that_is_no_utf8_is_refused(ask: Ask, flag: str) -> None:
    assert flag in refusal(ask, flag, "a\udcff")


def test_the_help_names_every_flag_variable_default_and_range() -> None:
    said = " ".join(CliRunner().invoke(command, ["--help"], terminal_width=200).output.split())
    for name in EVERY:
        assert f"--{name.replace('_', '-')}" in said
        assert f"BARFEED_{name.upper()}" in said
    for fact in (
        "2<=x<=1500",
        "0<=x<=8760",
        "[db|api|db,api]",
        "default: 300.0",
        "default: BTCUSDT",
        "--once",
        "--config",
    ):
        assert fact in said


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_may_make_itself_is_not_wrong_usage_where_it_may_not_be_read(name: str) -> None:
    made = barfeed.get_command(click.Context(barfeed), name)
    assert made is not None
    paths = {each.name: each.type for each in made.params if isinstance(each.type, click.Path)}
    assert [name for name, kind in paths.items() if kind.readable and not kind.exists] == []


def test_real_spot_bars_are_not_fed_beside_those_of_another_exchange(ask: Ask) -> None:
    local = "http://127.0.0.1:8080"
    told = refusal(ask, "--kinds", "spot_klines", "--base-url", local)
    assert told.startswith(f"--spot-url https://api.binance.com is not the spot market of --base-url {local}")
    assert ask("--kinds", "spot_klines", "--base-url", local, "--spot-url", local).kinds == "spot_klines"
    assert ask("--kinds", "funding", "--base-url", local).spot_url == "https://api.binance.com"
    assert ask("--kinds", "spot_klines").kinds == "spot_klines"

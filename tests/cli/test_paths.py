"""A FILE on the command line as its writer meant it: by its own name where it is there, else as any other path."""

import subprocess
from pathlib import Path

import click
import pytest

from barfeed.cli.commands.history.backfill import backfill
from barfeed.cli.values.paths import MeantBars, MeantFile
from commands import call, make_store
from history.backfill.own_files_world import HEADER, lines, written
from process import machine
from world import ms

# What a name ends or begins with, or holds, that a path is refused for where nothing has that name.
ODD = ['"quoted".csv', "bars.csv'", "$HOME.csv", "%USERPROFILE%.csv", " bars.csv", "bars.csv ", "~nobody-of-that-name"]
BARS = f"{HEADER}\n{lines()}"


def read(text: str) -> str:
    return str(MeantFile().convert(text, None, None))


def bars_of(text: str) -> str:
    return MeantBars().convert(text, None, None)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ODD)
def test_a_file_that_is_there_is_meant_whatever_it_is_called(home: Path, name: str) -> None:
    with pytest.raises(click.BadParameter):
        read(name)
    written(home / name, BARS)
    assert read(name) == name
    assert read(f"{name}:main.bars") == f"{name}:main.bars"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("text", ["~/bars.csv", "~/other.duckdb:bars", "~"])
def test_a_home_is_the_one_that_a_shell_would_have_written(text: str) -> None:
    said = subprocess.run(["sh", "-c", f"echo {text}"], capture_output=True, text=True, check=True).stdout.strip()
    assert read(text) == said


def test_behind_a_series_a_home_is_one_too(home: Path) -> None:
    # As it stands there, sh leaves it alone.
    text = "BTCUSDT-1h=~/bars=2.csv"
    said = subprocess.run(["sh", "-c", f"echo {text}"], capture_output=True, text=True, check=True).stdout.strip()
    assert said == text
    assert bars_of(text) == f"BTCUSDT-1h={home}/bars=2.csv"
    assert bars_of("~/bars=2.csv") == f"{home}/bars=2.csv"
    assert bars_of("my-data/x=1/bars.csv") == "my-data/x=1/bars.csv"
    with pytest.raises(click.BadParameter, match="which nobody has replaced"):
        bars_of("BTCUSDT-1h=$HOME/bars.csv")


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("$HOME/bars.csv", "holds $HOME, which nobody has replaced: write the whole path"),
        ('"~/bars.csv"', "begins or ends with a quote, which no shell has taken away"),
        ("~/bars.csv\r", "begins or ends with a blank or a line break"),
        ("s3://bucket/bars.csv", "is no path on this machine"),
        ("~/absent.csv", "absent.csv does not exist"),
    ],
)
@pytest.mark.parametrize("source", ["csv", "table"])
def test_a_file_that_only_a_shell_could_read_is_told_as_that(home: Path, source: str, file: str, says: str) -> None:
    written(home / "bars.csv", BARS)
    done = call(backfill, "--source", source, "--duckdb", home / "own.duckdb", file)
    assert (done.code, says in done.err, (home / "own.duckdb").exists()) == (2, True, False), done.err


def test_files_come_in_by_the_home_and_by_odd_names(home: Path) -> None:
    day = lines().splitlines()
    written(home / "bars.csv", "\n".join([HEADER, *day[:12], ""]))
    written(home / ODD[0], "\n".join([HEADER, *day[12:18], ""]))
    make_store(home / "o'$HOME.duckdb", table='"$bars"')
    with machine(home / "feed", ms(2024, 2, 10, 13)) as ready:
        words = ["--duckdb", home / "own.duckdb", "--base-url", ready.url, "--source"]
        done = call(backfill, *words, "csv", "~/bars.csv", ODD[0])
        assert (done.code, "appended=18 " in done.out) == (0, True), done
        done = call(backfill, *words, "table", "o'$HOME.duckdb:$bars", "--to", "2024-01-10")
    assert (done.code, "appended=42 " in done.out) == (0, True), done

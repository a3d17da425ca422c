"""What doctor finds around the feed, and what it says of it."""

import re
import tomllib
from pathlib import Path

import pytest

from barfeed.cli.commands.operate.doctor import _EXTRAS
from barfeed.operate.doctor import checks, host
from barfeed.operate.doctor.checks import Check, Scheduled
from process import ROOT
from waiting import LONGEST_SEC, in_time

PAGE = (ROOT / "docs" / "doctor.md").read_text()


@pytest.fixture(autouse=True)
def _a_machine_without_a_crontab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What does not hang may take its time on a busy machine.
    monkeypatch.setattr(host, "_ASK_SEC", LONGEST_SEC)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    crontab(tmp_path, "exit 1")


def crontab(folder: Path, script: str) -> None:
    program = folder / "bin" / "crontab"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(root: Path) -> list[Scheduled]:
    return host.schedulers(root / "root", root / "home")


def test_an_empty_machine_has_no_scheduler(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_a_unit_is_on_where_another_unit_wants_it(tmp_path: Path) -> None:
    units = tmp_path / "root" / "etc" / "systemd" / "system"
    put(units / "barfeed.timer")
    put(units / "barfeed.sysusers.conf")
    assert found(tmp_path) == [Scheduled("systemd barfeed.timer", on=False)]
    (units / "timers.target.wants").mkdir()
    (units / "timers.target.wants" / "barfeed.timer").symlink_to(units / "barfeed.timer")
    put(tmp_path / "home" / ".config" / "systemd" / "user" / "barfeed-watch.service")
    assert found(tmp_path) == [
        Scheduled("systemd barfeed.timer", on=True),
        Scheduled("systemd barfeed-watch.service", on=False),
    ]


def test_cron_is_found_by_its_lines_but_not_by_its_comments(tmp_path: Path) -> None:
    crontab(tmp_path, 'echo "# 1 * * * * barfeed run"')
    put(tmp_path / "root" / "etc" / "cron.d" / "other", "# barfeed\n1 * * * * root true\n")
    assert found(tmp_path) == []
    crontab(tmp_path, 'echo "1 * * * * cd /srv && .venv/bin/barfeed run"')
    put(tmp_path / "root" / "etc" / "cron.d" / "feed", "1 * * * * me python run/ohlcv_feed_binance.py\n")
    table = str(tmp_path / "root" / "etc" / "cron.d" / "feed")
    assert found(tmp_path) == [Scheduled("crontab", on=True), Scheduled(table, on=True)]


def test_a_launch_agent_is_found(tmp_path: Path) -> None:
    put(tmp_path / "home" / "Library" / "LaunchAgents" / "x.plist", (ROOT / "deploy" / "barfeed.plist").read_text())
    put(tmp_path / "home" / "Library" / "LaunchAgents" / "y.plist", "<plist/>")
    assert found(tmp_path) == [Scheduled("launchd x.plist", on=True)]


def test_a_crontab_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_ASK_SEC", 0.1)
    crontab(tmp_path, "exec sleep 600")
    assert in_time(lambda: found(tmp_path)) == []


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ([], "note"),
        ([Scheduled("systemd barfeed.timer", on=False)], "bad"),
        ([Scheduled("systemd barfeed.timer", on=False), Scheduled("crontab", on=True)], "good"),
    ],
)
def test_whoever_starts_the_feed_is_enough(seen: list[Scheduled], state: str) -> None:
    assert checks.scheduler(seen).state == state


@pytest.mark.parametrize(
    ("free", "a_day", "state", "seen"),
    [
        (10_000_000_000, None, "good", "10,000 MB free"),
        (10_000_000_000, 2_000_000, "good", "10,000 MB free, 5,000 days at 2.0 MB a day"),
        (49_999_999, None, "bad", "50 MB free"),
        (69_000_000, 10_000_000, "bad", "69 MB free, 7 days at 10.0 MB a day"),
        (70_000_000, 10_000_000, "good", "70 MB free, 7 days at 10.0 MB a day"),
        (0, 1, "bad", "0 MB free, 0 days at 0.0 MB a day"),
    ],
)
def test_room_is_counted_in_bytes_and_days(free: int, a_day: int | None, state: str, seen: str) -> None:
    check = checks.room(free, a_day, "barfeed prune")
    assert (check.state, check.seen) == (state, seen)


@pytest.mark.parametrize(
    ("versions", "wanted_by", "state"),
    [
        ({"apprise": "2.3.0"}, ["--alert"], "good"),
        ({"apprise": "2.3.0"}, [], "good"),
        ({"apprise": None}, [], "note"),
        ({"apprise": None}, ["--alert"], "bad"),
    ],
)
def test_an_absent_extra_is_bad_only_where_a_flag_needs_it(
    versions: dict[str, str | None], wanted_by: list[str], state: str
) -> None:
    check = checks.installed("alerts", versions, wanted_by)
    assert check.state == state
    assert state == "good" or "pip install 'barfeed[alerts]'" in check.fix


def test_the_extras_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    users = {
        name: extras[name]
        for name in extras
        if name not in {"dev", "peers", "bench", "docs", "engines", "recipes", "nautilus"}
    }
    named = {name: {re.split(r"[<>=\[]", each)[0] for each in wanted} for name, wanted in users.items()}
    assert {name: set(packages) for name, packages in _EXTRAS.items()} == named


def test_an_absent_package_has_no_version() -> None:
    seen = host.versions(["click", "no-such-package-of-barfeed"])
    assert seen["click"]
    assert seen["no-such-package-of-barfeed"] is None


def test_a_probe_is_written_whole_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "feed"
    folder.mkdir()
    host.probe(folder)
    assert list(folder.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        host.probe(folder / "absent")


def test_every_line_is_in_the_docs_with_its_fix() -> None:
    names = {
        "exchange", "clock", "proxy", "tls", "stream", "symbol", "store", "locks", "key", "table", "constraints",
        "revisions", "newest bar", "window", "last cycle", "trades", "folder", "space", "scheduler", "extra",
        "database", "server clock", "server", "standby", "schema", "rights", "feeders",
    }  # fmt: skip
    assert set(re.findall(r"^\| `([a-z ]+)` \|", PAGE, re.MULTILINE)) == names
    source = "".join(
        (ROOT / "src" / "barfeed" / "operate" / "doctor" / name).read_text()
        for name in ("examination.py", "checks.py", "database.py")
    )
    named = set(re.findall(r'Check\(f?"([a-z ]+?)(?: \{[a-z]+\})?"', source)) | {"clock", "tls", "stream", "folder"}
    assert named == names


def test_a_check_that_is_late_is_bad() -> None:
    assert checks.not_in_time("store", 8.5) == Check(
        "store",
        "bad",
        "not known after 8.5 s",
        "find out what hangs: name resolution, a firewall that drops packets, or a disk that is not there",
    )

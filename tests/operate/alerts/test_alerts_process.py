"""Alerts and heartbeats of real processes: cron's, two at once, and a watch."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fork_server
from barfeed.replay.faults.script import parse_faults
from operate.alerts.webhook import SECRET, Webhook
from process import BARFEED, Machine, Ran, lived_machine
from waiting import until
from world import hours, ms

pytest.importorskip("apprise", reason="extra `alerts`")

TARGET_MS = ms(2024, 2, 10, 13)
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T12:00:00\nvolume = 1234.567\n'
MISMATCH, WELL = "barfeed BTCUSDT 1h: mismatch", "barfeed BTCUSDT 1h: well again"


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    """A feed that is started, an hour behind."""
    with lived_machine(tmp_path, TARGET_MS, hours_later=1) as made:
        yield made


def revise(feeding: Machine, fault: str = REVISED) -> None:
    feeding.exchange.faults = parse_faults(fault, "the test")


def everything_written(feeding: Machine, *ran: Ran) -> str:
    files = [path.read_bytes().decode("utf-8", "replace") for path in feeding.folder.rglob("*") if path.is_file()]
    return "".join([*files, *(each.out + each.err for each in ran)])


def test_cron_tells_a_trouble_once_and_its_end_and_shows_no_token(feeding: Machine, webhook: Webhook) -> None:
    flags = ("--catch-up", "--debug", "--alert", webhook.channel, f"--heartbeat-url={webhook.url}")
    revise(feeding)
    first, second = feeding.feed(*flags), feeding.feed(*flags)
    assert (first.code, second.code) == (1, 1)
    assert (webhook.titles, webhook.called) == ([MISMATCH], [])
    revise(feeding, "")
    good = feeding.feed(*flags)
    assert (good.code, webhook.titles, len(webhook.called)) == (0, [MISMATCH, WELL], 1)
    written = everything_written(feeding, first, second, good)
    assert "failed=mismatch" in written
    assert SECRET not in written
    assert str(webhook.port) not in first.err + second.err + good.err


@pytest.mark.long
def test_the_command_in_a_hint_goes_without_the_addresses(feeding: Machine, webhook: Webhook) -> None:
    feeding.clock.advance(hours(5))
    ran = feeding.feed("--alert", webhook.channel, f"--alert={webhook.channel}", "--heartbeat-url", webhook.url)
    assert ran.err.splitlines()[1].startswith("  hint: catch up: ")
    assert ran.err.splitlines()[1].endswith("--catch-up")
    assert SECRET not in everything_written(feeding, ran) + json.dumps(webhook.posted)
    assert webhook.titles == ["barfeed BTCUSDT 1h: missed_bars"] * 2


@pytest.mark.long
def test_two_processes_on_one_folder_send_one_message(feeding: Machine, webhook: Webhook) -> None:
    revise(feeding)
    both = [feeding.start("--alert", webhook.channel) for _ in range(2)]
    for each in both:
        each.communicate(timeout=60)
    assert [each.returncode for each in both] == [1, 1]
    assert webhook.titles == [MISMATCH]


@pytest.mark.long
@pytest.mark.parametrize("store", ["stands", "gone, too"])
def test_cron_tells_once_that_the_folder_is_unusable_and_that_it_is_mended(
    feeding: Machine, webhook: Webhook, tmp_path: Path, store: str
) -> None:
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "APPDATA"), str(tmp_path / "home"))
    kept = feeding.artifacts.with_name("kept")
    feeding.artifacts.rename(kept)
    feeding.artifacts.write_text("in the way")
    elsewhere = str(tmp_path / "file" / "ohlcv.duckdb")
    (tmp_path / "file").write_text("in the way, too")
    flags = ("--catch-up", "--alert", webhook.channel)
    store_flags = () if store == "stands" else ("--duckdb", elsewhere)
    for _ in range(3):
        ran = feeding.feed(*flags, *store_flags, **home)
        assert ran.code == 4
        assert "alerts" not in ran.err
        feeding.clock.advance(hours(1))
    assert webhook.titles == ["barfeed BTCUSDT 1h: artifacts_unusable"]
    feeding.artifacts.unlink()
    kept.rename(feeding.artifacts)
    assert feeding.feed(*flags, **home).code == 0
    assert webhook.titles[1:] == [WELL]
    assert not [*feeding.duckdb.parent.glob("alerts-*"), *(tmp_path / "home").rglob("alerts-*")]


@pytest.mark.long
def test_a_channel_that_never_answers_holds_up_nothing_but_the_end_for_some_seconds(
    feeding: Machine, webhook: Webhook
) -> None:
    revise(feeding)
    webhook.hangs = True
    process = feeding.start("--alert", webhook.channel)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("failed=mismatch")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "WARNING alert not delivered: channel 1 (json): no answer in 10 s; it is tried again" in said


@pytest.mark.long
def test_a_run_that_is_ended_while_it_waits_for_a_channel_ends_at_once(feeding: Machine, webhook: Webhook) -> None:
    revise(feeding)
    webhook.hangs = True
    process = feeding.start("--alert", webhook.channel)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("failed=mismatch")
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in said


@pytest.mark.long
def test_a_bug_is_told_and_the_process_ends_though_a_channel_does_not_answer(
    feeding: Machine, webhook: Webhook, other_webhook: Webhook
) -> None:
    (feeding.folder / "sitecustomize.py").write_text(
        # The first channel may take its time on a busy machine; the second gets no answer.
        "from barfeed.domain import verdict\nfrom barfeed.machine.background import BackgroundTask\n"
        "wait = BackgroundTask.wait\n"
        "BackgroundTask.wait = lambda task, sec: wait(task, 60.0 if '1' in task._name else 0.1)\n"
        "verdict.judge = lambda *_, **__: 1 / 0\n"
    )
    path = f"{feeding.folder}:{feeding.environment().get('PYTHONPATH', '')}"
    other_webhook.hangs = True
    channels = ("--alert", webhook.channel, "--alert", other_webhook.channel)
    ran = feeding.feed(*channels, PYTHONPATH=path)
    assert ran.code == 70
    assert webhook.titles == ["barfeed BTCUSDT 1h: bug"]


@pytest.mark.long
def test_a_dry_run_neither_alarms_nor_vouches(feeding: Machine, webhook: Webhook) -> None:
    flags = ("--dry-run", "--alert", webhook.channel, "--heartbeat-url", webhook.url)
    assert feeding.feed(*flags).code == 0
    revise(feeding)
    assert feeding.feed(*flags).code == 1
    assert (webhook.posted, webhook.called) == ([], [])


@pytest.mark.long
def test_a_heartbeat_is_called_after_each_good_cycle_and_no_other(feeding: Machine, webhook: Webhook) -> None:
    assert feeding.feed("--heartbeat-url", webhook.url).code == 0
    assert feeding.feed("--heartbeat-url", webhook.url).code == 0
    assert webhook.called == [f"/{SECRET}?source=feed"] * 2
    feeding.clock.advance(hours(3))
    assert feeding.feed("--heartbeat-url", webhook.url).code == 1
    assert len(webhook.called) == 2


@pytest.mark.long
def test_a_heartbeat_that_is_not_taken_is_tried_once_more_and_is_only_a_warning(
    feeding: Machine, webhook: Webhook, deaf: str
) -> None:
    webhook.status = 503
    ran = feeding.feed("--debug", "--heartbeat-url", webhook.url)
    assert (ran.code, webhook.refused) == (0, 2)
    assert "WARNING the heartbeat was not taken: HTTP 503\n" in ran.err
    dead = feeding.feed("--debug", "--heartbeat-url", f"http://{deaf}/{SECRET}")
    assert (dead.code, "WARNING the heartbeat was not taken: connection\n" in dead.err) == (0, True)
    assert SECRET not in everything_written(feeding, ran, dead)


@pytest.mark.long
def test_a_heartbeat_that_never_answers_is_left_behind(feeding: Machine, webhook: Webhook) -> None:
    webhook.hangs = True
    ran = feeding.feed("--heartbeat-url", webhook.url)
    assert (ran.code, ran.err) == (0, "WARNING the heartbeat was not taken: no answer in 5 s\n")


@pytest.mark.long
def test_a_watch_tells_beside_its_cycles_and_what_is_left_when_it_is_stopped(
    feeding: Machine, webhook: Webhook, other_webhook: Webhook
) -> None:
    revise(feeding)
    other_webhook.hangs = True
    flags = ("--watch", "--catch-up", "--sleep-sec", "0.2", "--settle-sec", "0", "--heartbeat-url", webhook.url)
    watch = feeding.start(*flags, "--alert", webhook.channel, "--alert", other_webhook.channel)
    try:
        webhook.wait_for(1)
        revise(feeding, "")
        webhook.wait_for(2)
        until(lambda: webhook.called)
    finally:
        watch.terminate()
    # It ends, though one channel never answers.
    out, err = watch.communicate(timeout=60)
    assert watch.returncode == 0
    assert (webhook.titles, len(webhook.called)) == ([MISMATCH, WELL], 1)
    assert other_webhook.posted == []
    assert "no answer in 3 s" in err
    assert SECRET not in everything_written(feeding, Ran(0, out, err))


def alert_test(*words: str) -> "subprocess.CompletedProcess[str]":
    return fork_server.run([BARFEED, "alert", "test", "--debug", *words], os.environ)


@pytest.mark.long
def test_alert_test_tells_which_channel_took_the_message(webhook: Webhook, other_webhook: Webhook) -> None:
    good = alert_test("--alert", webhook.channel)
    assert (good.returncode, good.stdout) == (0, "channel 1 (json): ok\n")
    assert alert_test("--alert", webhook.channel, "--symbols", "all", "--intervals", "1h,4h").returncode == 0
    assert webhook.titles == ["barfeed BTCUSDT 1h: test", "barfeed all 1h, all 4h: test"]
    other_webhook.status = 500
    words = [
        word for each in (webhook.channel, other_webhook.channel, f"tgram://{SECRET}") for word in ("--alert", each)
    ]
    bad = alert_test(*words)
    assert bad.returncode == 1
    assert bad.stdout.splitlines() == [
        "channel 1 (json): ok",
        "channel 2 (json): failed: it did not take the message",
        "channel 3 (tgram): failed: apprise cannot use its address",
    ]
    assert SECRET not in bad.stdout + bad.stderr


def test_alert_test_without_a_channel_is_wrong_usage() -> None:
    assert alert_test().returncode == 2


@pytest.mark.long
def test_without_the_extra_the_flag_says_what_to_install(feeding: Machine, webhook: Webhook) -> None:
    # A finder that finds no apprise stands in for an environment without it.
    (feeding.folder / "sitecustomize.py").write_text(
        "import importlib.util as util\n"
        "found = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'apprise' else found(name, *more)\n"
    )
    path = f"{feeding.folder}:{feeding.environment().get('PYTHONPATH', '')}"
    ran = feeding.feed("--alert", webhook.channel, PYTHONPATH=path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines() == [
        "barfeed: --alert needs the extra `alerts`",
        "  hint: pip install 'barfeed[alerts]'",
    ]


@pytest.mark.long
def test_a_good_hour_imports_neither_apprise_nor_what_sends(feeding: Machine, webhook: Webhook) -> None:
    flags = ("--alert", webhook.channel)
    command = [sys.executable, "-X", "importtime", *feeding.command(*flags)[1:]]
    done = subprocess.run(command, env=feeding.environment(), capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "barfeed.operate.alerts.delivery" in imported
    assert not {"apprise", "requests"} & imported

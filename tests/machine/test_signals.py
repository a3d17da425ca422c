"""A signal ends a command, wherever it strikes and however often it comes."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import Bar
from barfeed.feed.follow_up import run_command
from barfeed.machine import signals
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store, transaction
from barfeed.store.incoming.staging import Staging
from history.backfill.backfill_world import History
from world import BTCUSDT_1H, ms

# Minutes of work.
LONG = "SELECT sum(a.range * b.range) FROM range(3000000) a, range(3000) b WHERE (a.range * b.range) % 7 = 3"
STRUCK = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT]


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in STRUCK}
    monkeypatch.setattr(signals, "_Wish", type("_Wish", (), dict(vars(signals._Wish))))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def strike_soon(number: int) -> None:
    """To be called last before the work that is to be struck: on a busy machine it may strike before that begins."""
    threading.Timer(0.3, lambda: os.kill(os.getpid(), number)).start()


def store_of_one_bar(folder: Path) -> Store:
    store = Store(folder / "ohlcv.duckdb", SystemClock(), 0.0)
    with store.appending(BTCUSDT_1H, create=True) as table:
        table.append([Bar(ms(2024, 2, 10, 13), 1.0, 1.0, 1.0, 1.0, 1.0)])
    return store


def work_long(store: Store, number: int) -> None:
    with store.session(write=True) as connection, transaction(connection):
        store.table(connection, BTCUSDT_1H).append([Bar(ms(2024, 2, 10, 14), 1.0, 1.0, 1.0, 1.0, 1.0)])
        strike_soon(number)
        connection.execute(LONG)


@pytest.mark.parametrize("number", STRUCK)
def test_a_signal_while_duckdb_works_is_the_stop_that_it_asks_for_and_rolls_back(tmp_path: Path, number: int) -> None:
    store = store_of_one_bar(tmp_path)
    signals.stop_on_signals()
    with pytest.raises(signals.Stopped) as stopped:
        work_long(store, number)
    assert stopped.value.exit_code == 128 + number
    with store.reading(BTCUSDT_1H) as table:
        assert table.coverage().rows == 1


def test_ctrl_c_while_duckdb_works_is_ctrl_c_for_a_command_that_minds_no_signals(tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    store = store_of_one_bar(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work_long(store, signal.SIGINT)


def test_ctrl_c_while_a_backfill_stages_keeps_what_had_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    history = History(tmp_path)
    put = Staging.put

    def put_and_work_on(self: Staging, data: Any) -> None:
        is_first = not self.rows()
        put(self, data)
        if not is_first:
            strike_soon(signal.SIGINT)
            self._connection.execute(LONG)

    monkeypatch.setattr(Staging, "put", put_and_work_on)
    with pytest.raises(KeyboardInterrupt):
        history.run()
    assert len(history.held()) >= 499


def test_a_signal_while_the_file_is_opened_does_not_make_it_unusable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of_one_bar(tmp_path)

    def statement(*_: object) -> str:
        strike_soon(signal.SIGTERM)
        return LONG

    monkeypatch.setattr("barfeed.store.duckdb._attach_statement", statement)
    signals.stop_on_signals()
    with pytest.raises(signals.Stopped), store.reading(BTCUSDT_1H):
        pass


def test_two_signals_for_one_wish_are_one_and_a_later_one_is_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_sec = 1000.0
    monkeypatch.setattr(SystemClock, "steady_sec", lambda _self: now_sec)
    signals.stop_on_signals()
    with pytest.raises(signals.Stopped):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    now_sec += 1.0
    with pytest.raises(signals.Stopped, match="signal 15"):
        signal.raise_signal(signal.SIGTERM)


def test_whom_nohup_began_minds_no_terminal_that_is_closed_but_every_other_signal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals.stop_on_signals()
    signal.raise_signal(signal.SIGHUP)
    with pytest.raises(signals.Stopped):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_is_put_off_is_raised_once_and_when_the_block_is_done() -> None:
    signals.stop_on_signals()
    done = []

    def begin(number: int | None) -> None:
        with signals.put_off():
            if number:
                signal.raise_signal(number)
            done.append(number)

    with pytest.raises(signals.Stopped):
        begin(signal.SIGTERM)
    begin(None)
    assert done == [signal.SIGTERM, None]


def test_after_a_block_that_put_signals_off_they_are_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_ONE_WISH_SEC", 0.0)
    signals.stop_on_signals()
    with pytest.raises(OSError, match="as it began"), signals.put_off():
        raise OSError("as it began")
    with pytest.raises(signals.Stopped):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(os.name != "posix", reason="no process groups")
def test_a_command_that_had_only_just_begun_is_ended_by_the_signal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes when the process is there, and nobody holds it yet."""
    begun: list[subprocess.Popen[bytes]] = []

    class StruckAsItBegins(subprocess.Popen[bytes]):
        def __init__(self, *given: Any, **named: Any) -> None:
            super().__init__(*given, **named)
            begun.append(self)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", StruckAsItBegins)
    signals.stop_on_signals()
    with pytest.raises(signals.Stopped):
        run_command("sleep 60", {}, 60.0)
    assert begun[0].returncode == -signal.SIGKILL

"""Anything, in any order, beside a model of what must hold: see model.py for the promises, ground.py for the moves."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from barfeed.artifacts import writing
from barfeed.domain import grid, rules, verdict
from barfeed.feed.settling import Settling
from barfeed.store import revisions
from proof.ground import ERA_MS, TAPE, WINDOW_BARS, Ended, Ground, order
from proof.model import HOUR_MS, Model, check_evidence
from proof.storm import ANY_PATH, EXITS, FAULTS
from proof.victim import Victims
from world import written

SIGKILL = -9
# A cycle asks the clock about so often.
QUESTIONS = 30
EXIT_CODES = {**EXITS, "window_gap": 1, "store_empty": 1, "overtaken": 0, "dry_run": 0, "unrepaired": 1}

faults = st.tuples(
    st.sampled_from([(kind, said) for kind, all_said in sorted(FAULTS.items()) for said in all_said]),
    st.integers(0, 7),
    st.sampled_from(ANY_PATH),
    st.sampled_from(["", '\nrequests = "1"', '\nrequests = "2-3"']),
)
weather = st.lists(faults, max_size=2)
flags = st.fixed_dictionaries(
    {
        "catch_up": st.booleans(),
        "accept": st.booleans(),
        "source": st.sampled_from(["db", "db", "api"]),
        "dry_run": st.sampled_from([False, False, False, True]),
    }
)
moments = st.integers(1, QUESTIONS)
# With as many decimals as the wire has.
volumes = st.integers(1, 10**9).map(lambda units: units / 1000)


class Life(RuleBasedStateMachine):
    """A feed's life, step by step."""

    victims: Victims

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="barfeed-model-", dir=_fast_folder()))
        self.ground = Ground(self.root, ERA_MS + HOUR_MS + 30_000)
        self.model = Model({bar.open_time_ms: bar.values for bar in TAPE.bars}, WINDOW_BARS)
        self._judged(self.ground.clock.now_ms, self.ground.call("feed", catch_up=True))

    @rule(hours=st.sampled_from([1, 1, 1, 2, 7, 40]), sec=st.integers(0, 3599))
    def time_goes_on(self, hours: int, sec: int) -> None:
        now_ms = self.ground.clock.now_ms
        self.ground.clock.go_to(now_ms - now_ms % HOUR_MS + hours * HOUR_MS + sec * 1000)

    @rule(storm=weather, flags=flags)
    def feed(self, storm: Any, flags: Any) -> None:
        ended = self._call("feed", storm, **flags)
        if not storm and ended.status in {"appended", "revised", "up_to_date"}:
            self.model.check_agreement(self._target_ms)

    @rule(storm=weather, flags=flags, at=moments, jump_sec=st.sampled_from([0, 0, 30, 3600, 7200]))
    def feed_while_another_feed_lives(self, storm: Any, flags: Any, at: int, jump_sec: int) -> None:
        self.ground.interlope(at, jump_sec * 1000)
        self._call("feed", storm, **flags)
        self.ground.fair()

    @rule(storm=weather)
    def repair(self, storm: Any) -> None:
        self._call("repair", storm)

    @rule(at=moments, jump_sec=st.sampled_from([0, 30, 3600]))
    def repair_while_another_feed_lives(self, at: int, jump_sec: int) -> None:
        self.ground.interlope(at, jump_sec * 1000)
        self._call("repair", [])
        self.ground.fair()

    @rule(storm=weather, back=st.integers(0, 200), bars=st.integers(1, 200))
    def backfill(self, storm: Any, back: int, bars: int) -> None:
        from_ms = self._target_ms - back * HOUR_MS
        self._call("backfill", storm, from_ms=from_ms, to_ms=from_ms + bars * HOUR_MS)

    @rule(days=st.integers(1, 3), discard=st.booleans())
    def prune(self, days: int, discard: bool) -> None:
        self._call("prune", [], days=days, discard=discard)

    @rule(back=st.integers(0, 8), volume=volumes)
    def the_exchange_revises_a_bar(self, back: int, volume: float) -> None:
        self.model.revise(self._target_ms - back * HOUR_MS, volume)
        self.ground.revise({written(at): volume for at, volume in self.model.revised.items()})

    @rule(back=st.integers(0, 35), bars=st.integers(1, 3))
    def somebody_takes_bars_out(self, back: int, bars: int) -> None:
        gone = sorted(self.model.stored)[::-1][back : back + bars]
        with duckdb.connect(self.ground.duckdb) as connection:
            for at in gone:
                connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = make_timestamp_ms(?)", [at])
        self.model.forget(gone)

    @rule(
        command=st.sampled_from(["feed", "feed", "repair", "backfill", "prune"]),
        die_at=st.integers(1, 130),
        flags=flags,
    )
    def a_process_is_killed(self, command: str, die_at: int, flags: Any) -> None:
        said = {"feed": flags, "backfill": self._history(), "prune": {"days": 1, "discard": False}}.get(command, {})
        begin_ms = self.ground.clock.now_ms
        (ended,) = self.victims.live(order(self.ground, self.model.revised, command, "", **said) | {"die_at": die_at})
        assert ended == SIGKILL or ended in range(5), ended
        self._check(begin_ms, killed=True)

    @rule(commands=st.lists(st.sampled_from(["feed", "feed", "repair", "backfill"]), min_size=2, max_size=3))
    def processes_live_at_the_same_time(self, commands: list[str]) -> None:
        said: dict[str, Any] = {"feed": {"catch_up": True}, "backfill": self._history()}
        orders = [order(self.ground, self.model.revised, each, "", **said.get(each, {})) for each in commands]
        begin_ms = self.ground.clock.now_ms
        ended = self.victims.live(*orders)
        assert set(ended) <= {0, 1}, (commands, ended)
        self._check(begin_ms)

    def teardown(self) -> None:
        if hasattr(self, "ground"):
            try:
                self._recover()
            finally:
                shutil.rmtree(self.root)

    def _recover(self) -> None:
        """The faults are over: the documented commands bring the feed back, and everything stored is the truth."""
        for _ in range(4):
            ended = self._call("feed", [], catch_up=True)
            if ended.exit_code == 0:
                break
            self._call("backfill", [], **self._history())
            self._call("repair", [])
        assert ended.exit_code == 0, ended
        self._call("repair", [])
        assert self._call("feed", [], catch_up=True).exit_code == 0
        first_ms = min(self.model.stored)
        expected = {at: v for at, v in self.model.truth.items() if first_ms <= at <= self._target_ms}
        assert self.model.stored == expected

    @property
    def _target_ms(self) -> int:
        now_ms = self.ground.clock.now_ms
        return now_ms - now_ms % HOUR_MS - HOUR_MS

    def _history(self) -> dict[str, int]:
        return {"from_ms": self._target_ms - 60 * HOUR_MS, "to_ms": self._target_ms + HOUR_MS}

    def _call(self, command: str, storm: Any, **said: Any) -> Ended:
        begin_ms = self.ground.clock.now_ms
        toml = "\n".join(self._fault(*each) for each in storm)
        ended = self.ground.call(command, toml, **said)
        self._judged(begin_ms, ended, discards=bool(said.get("discard")))
        return ended

    def _judged(self, begin_ms: int, ended: Ended, *, discards: bool = False) -> None:
        assert ended.exit_code == EXIT_CODES.get(ended.status, ended.exit_code), ended
        assert ended.exit_code in {0, 1, 3, 5}, ended
        if ended.record:
            check_evidence(ended.record)
        self._check(begin_ms, discards=discards)

    def _check(self, begin_ms: int, **than_usual: bool) -> None:
        self.model.check(self.ground.duckdb, self.ground.folder, (begin_ms, self.ground.clock.now_ms), **than_usual)

    def _fault(self, fault: tuple[str, str], back: int, path: str, when: str) -> str:
        kind, said = fault
        at = self._target_ms - back * HOUR_MS
        if kind == "flat":
            self.model.may_say(at, self.model.flat(at))
        elif kind == "settle":
            for later in range(at, self._target_ms + 2 * HOUR_MS, HOUR_MS):
                if later in self.model.versions:
                    self.model.may_say(later, self.model.flat(at))
        elif kind == "revise":
            volume = 0.5 if "0.5" in said else 77.25
            opened, high, low, close, _ = self.model.truth[at]
            self.model.may_say(at, (opened, high, 1.0 if "low" in said else low, close, volume))
        return f'[[fault]]\nkind = "{kind}"\n{said.format(bar=written(at), path=path)}{when}\n'


def _fast_folder() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112


def profile(examples: int, steps: int, **more: Any) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), **more
    )


@pytest.fixture(autouse=True)
def victims() -> Iterator[None]:
    with Victims() as victims:
        Life.victims = victims
        yield


def test_no_promise_breaks_in_a_few_lives() -> None:
    run_state_machine_as_test(Life, settings=profile(2, 8, derandomize=True, database=None, phases=[Phase.generate]))


@pytest.mark.proof
def test_no_promise_breaks_in_many_lives() -> None:
    examples = int(os.environ.get("MODEL_EXAMPLES", "60"))
    run_state_machine_as_test(Life, settings=profile(examples, 25, database=None, print_blob=True))


def _forming_too(monkeypatch: pytest.MonkeyPatch) -> None:
    # An hour too late, for all: what to ask for, what counts as closed.
    monkeypatch.setattr(grid, "floor", lambda now_ms, step_ms: now_ms - now_ms % step_ms + step_ms)
    monkeypatch.setattr(Settling, "wait_ms", lambda self: self.talk.now_ms)
    monkeypatch.setattr(rules, "check_pull", lambda *_: [])
    monkeypatch.setattr(verdict, "trust_clock", lambda *_: None)


def _no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_refuse_mismatches", lambda *_: None)


def _no_gaps_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "_refuse_gaps", lambda *_: None)
    monkeypatch.setattr(rules, "check_window", lambda *_: [])


def _silent_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        revisions, "_AUDIT", f"{revisions._AUDIT.replace('INSERT INTO', '--').partition('--')[0]}SELECT 1"
    )


def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = writing.csv_bytes
    monkeypatch.setattr(writing, "csv_bytes", lambda bars, **how: whole([*bars][:-1], **how))


def _old_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_end", lambda _: "")


def _blind_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "trust_clock", lambda *_: None)


def _no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.Run, "save_pull", lambda _, bars: writing.Written("gone.csv", "", len(bars)))


FAIR: list[Any] = []
SLOW_CLOCK = [(("skew", "ms = -7200000"), 0, "time", "")]


def _live_an_hour(life: Life) -> None:
    life.time_goes_on(1, 1800)
    life.feed(FAIR, {"catch_up": True})


def _live_two_revisions(life: Life) -> None:
    life.the_exchange_revises_a_bar(1, 3.25)
    life.repair(FAIR)


def _be_overtaken(life: Life) -> None:
    life.time_goes_on(1, 1800)
    for at in range(18, QUESTIONS):
        life.feed_while_another_feed_lives(FAIR, {}, at, 3600)
        life.time_goes_on(1, 1800)


def _lose_bars(life: Life) -> None:
    life.somebody_takes_bars_out(10, 2)
    _live_an_hour(life)


def _believe_a_slow_clock(life: Life) -> None:
    life.time_goes_on(7, 1800)
    life.feed(SLOW_CLOCK, {"catch_up": True})


def _be_revised(life: Life) -> None:
    life.the_exchange_revises_a_bar(1, 3.25)
    _live_an_hour(life)


MUTANTS = {
    "forming bars are appended": (_forming_too, _live_an_hour),
    "nothing is compared": (_no_comparison, _be_revised),
    "gaps are not seen": (_no_gaps_seen, _lose_bars),
    "bars are revised in silence": (_silent_revision, _live_two_revisions),
    "the window is short": (_short_window, _live_an_hour),
    "the latest may go back": (_old_latest, _be_overtaken),
    "the exchange's clock is believed": (_blind_trust, _believe_a_slow_clock),
    "no evidence is kept": (_no_evidence, _live_an_hour),
}


@pytest.mark.parametrize(
    ("breaks", "lives"),
    [pytest.param(*each, id=name, marks=pytest.mark.long) for name, each in MUTANTS.items()],
)
def test_the_model_catches_a_broken_barfeed(
    breaks: Callable[[pytest.MonkeyPatch], None], lives: Callable[[Life], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = Life(), Life()
    whole.begin()
    broken.begin()
    try:
        lives(whole)
        breaks(monkeypatch)
        with pytest.raises(AssertionError):
            lives(broken)
    finally:
        for life in (whole, broken):
            shutil.rmtree(life.root, ignore_errors=True)

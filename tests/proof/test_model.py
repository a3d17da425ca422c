"""Anything, in any order, beside a model of what must hold: see model.py for the promises, ground.py for the moves."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from barfeed.artifacts import writing
from barfeed.domain import grid, rules, verdict
from barfeed.feed.asking.settling import Settling
from barfeed.replay.tapes.tape import Tape
from barfeed.store import revisions
from barfeed.store.market import MarketTable, Window
from barfeed.store.postgres.tables import revisions as database_revisions
from barfeed.store.postgres.tables.market import MarketTable as DatabaseMarketTable
from holding import held
from pg_server import drop, new_market
from proof.ground import (
    ERA_MS,
    MARKET_TAPES,
    TAPE,
    WINDOW_BARS,
    Ended,
    Ground,
    MarketGround,
    Revised,
    order,
)
from proof.holdings import Holdings, InDatabase, InFile, Kept
from proof.model import HOUR_MS, Model, check_evidence, check_windows
from proof.storm import ANY_PATH, EXITS, FAULTS, may_choose
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
    st.one_of(st.none(), st.integers(0, 2)),
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
# Which of its symbols: of one series there is only one.
symbols = st.integers(0, 2)
# With as many decimals as the wire has.
volumes = st.integers(1, 10**9).map(lambda units: units / 1000)


class Life(RuleBasedStateMachine):
    """A feed's life, step by step."""

    victims: Victims
    # A call asks the clock about so often.
    questions = QUESTIONS
    has_database = False

    def made(self, database: str) -> tuple[Ground, dict[str, Model]]:
        """A machine, and what is known of each symbol that it feeds."""
        ground = Ground(self.root, ERA_MS + HOUR_MS + 30_000, database)
        kept = Kept.among_others("BTCUSDT") if database else Kept.alone()
        return ground, {"BTCUSDT": Model(_values(TAPE), WINDOW_BARS, kept)}

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="barfeed-model-", dir=_fast_folder()))
        self.ground, self.models = self.made(new_market() if self.has_database else "")
        self._judged(self.ground.clock.now_ms, self.ground.call("feed", catch_up=True))

    @rule(hours=st.sampled_from([1, 1, 1, 2, 7, 40]), sec=st.integers(0, 3599))
    def time_goes_on(self, hours: int, sec: int) -> None:
        now_ms = self.ground.clock.now_ms
        self.ground.clock.go_to(now_ms - now_ms % HOUR_MS + hours * HOUR_MS + sec * 1000)

    @rule(storm=weather, flags=flags)
    def feed(self, storm: Any, flags: Any) -> None:
        ended = self._call("feed", storm, **flags)
        if not storm and ended.status in {"appended", "revised", "up_to_date"}:
            for model in self.models.values():
                model.check_agreement(self._target_ms)

    @rule(storm=weather, flags=flags, at=moments, jump_sec=st.sampled_from([0, 0, 30, 3600, 7200]))
    def feed_while_another_feed_lives(self, storm: Any, flags: Any, at: int, jump_sec: int) -> None:
        self.ground.interlope(at * self.questions // QUESTIONS, jump_sec * 1000)
        self._call("feed", storm, **flags)
        self.ground.fair()

    @rule(storm=weather, of=symbols)
    def repair(self, storm: Any, of: int) -> None:
        self._call("repair", storm, symbol=self._symbol(of))

    @rule(at=moments, jump_sec=st.sampled_from([0, 30, 3600]), of=symbols)
    def repair_while_another_feed_lives(self, at: int, jump_sec: int, of: int) -> None:
        self.ground.interlope(at * self.questions // QUESTIONS, jump_sec * 1000)
        self._call("repair", [], symbol=self._symbol(of))
        self.ground.fair()

    @rule(storm=weather, back=st.integers(0, 200), bars=st.integers(1, 200), of=symbols)
    def backfill(self, storm: Any, back: int, bars: int, of: int) -> None:
        from_ms = self._target_ms - back * HOUR_MS
        self._call("backfill", storm, from_ms=from_ms, to_ms=from_ms + bars * HOUR_MS, symbol=self._symbol(of))

    @rule(days=st.integers(1, 3), discard=st.booleans())
    def prune(self, days: int, discard: bool) -> None:
        self._call("prune", [], days=days, discard=discard)

    @rule(back=st.integers(0, 8), volume=volumes, of=symbols)
    def the_exchange_revises_a_bar(self, back: int, volume: float, of: int) -> None:
        symbol = self._symbol(of)
        self.models[symbol].revise(self._target_ms - back * HOUR_MS, _on_the_wire(symbol, volume))
        self.ground.revise(self._revised)

    @rule(back=st.integers(0, 35), bars=st.integers(1, 3), of=symbols)
    def somebody_takes_bars_out(self, back: int, bars: int, of: int) -> None:
        model = self.models[self._symbol(of)]
        gone = sorted(model.stored)[::-1][back : back + bars]
        model.take_out(self.holdings, gone)

    @precondition(lambda life: life.has_database)
    @rule(storm=weather, flags=flags)
    def feed_while_the_database_is_away(self, storm: Any, flags: Any) -> None:
        self.ground.is_away = True
        self._call("feed", storm, **flags)
        self.ground.is_away = False

    @precondition(lambda life: not life.has_database)
    @rule(storm=weather, flags=flags, to=st.sampled_from(["read", "write"]), at=st.integers(0, QUESTIONS))
    def feed_while_another_has_the_store(self, storm: Any, flags: Any, to: str, at: int) -> None:
        if at:
            self.ground.interlope(at * self.questions // QUESTIONS, 0)
        begin_ms = self.ground.clock.now_ms
        self.ground.is_away = True
        with held(self.ground.duckdb, to=to):
            ended = self._ended("feed", storm, **flags)
        self._judged(begin_ms, ended)
        self.ground.is_away = False
        self.ground.fair()

    @rule(
        command=st.sampled_from(["feed", "feed", "repair", "backfill", "prune"]),
        die_at=st.integers(1, 130),
        flags=flags,
        of=symbols,
    )
    def a_process_is_killed(self, command: str, die_at: int, flags: Any, of: int) -> None:
        said = {"feed": flags, "prune": {"days": 1, "discard": False}}.get(command) or self._mending(command, of)
        begin_ms = self.ground.clock.now_ms
        (ended,) = self.victims.live(order(self.ground, self._revised, command, "", **said) | {"die_at": die_at})
        assert ended == SIGKILL or ended in range(5), ended
        self._check(begin_ms, killed=True)

    @rule(
        commands=st.lists(st.sampled_from(["feed", "feed", "repair", "backfill"]), min_size=2, max_size=3), of=symbols
    )
    def processes_live_at_the_same_time(self, commands: list[str], of: int) -> None:
        said = {each: {"catch_up": True} if each == "feed" else self._mending(each, of) for each in commands}
        orders = [order(self.ground, self._revised, each, "", **said[each]) for each in commands]
        begin_ms = self.ground.clock.now_ms
        ended = self.victims.live(*orders)
        assert set(ended) <= {0, 1}, (commands, ended)
        self._check(begin_ms)

    def teardown(self) -> None:
        if hasattr(self, "ground"):
            try:
                self._recover()
            finally:
                self.let_go()

    def let_go(self) -> None:
        """Take the disk away, and the database."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self.ground.database:
            drop(self.ground.database)

    def _recover(self) -> None:
        """The faults are over: the documented commands bring the feed back, and everything stored is the truth."""
        for _ in range(4):
            ended = self._call("feed", [], catch_up=True)
            if ended.exit_code == 0:
                break
            for symbol in self.models:
                self._call("backfill", [], **self._history(), symbol=symbol)
                self._call("repair", [], symbol=symbol)
        assert ended.exit_code == 0, ended
        for symbol in self.models:
            self._call("repair", [], symbol=symbol)
        assert self._call("feed", [], catch_up=True).exit_code == 0
        for symbol, model in self.models.items():
            first_ms = min(model.stored)
            expected = {at: v for at, v in model.truth.items() if first_ms <= at <= self._target_ms}
            assert model.stored == expected, symbol

    @property
    def holdings(self) -> Holdings:
        """What the store holds."""
        return InDatabase(self.ground.database) if self.ground.database else InFile(self.ground.duckdb)

    @property
    def _target_ms(self) -> int:
        now_ms = self.ground.clock.now_ms
        return now_ms - now_ms % HOUR_MS - HOUR_MS

    @property
    def _revised(self) -> list[Revised]:
        return [
            (name, written(at), volume) for name, each in self.models.items() for at, volume in each.revised.items()
        ]

    def _symbol(self, number: int) -> str:
        return [*self.models][number % len(self.models)]

    def _history(self) -> dict[str, int]:
        return {"from_ms": self._target_ms - 60 * HOUR_MS, "to_ms": self._target_ms + HOUR_MS}

    def _mending(self, command: str, of: int) -> dict[str, Any]:
        return {"symbol": self._symbol(of)} | (self._history() if command == "backfill" else {})

    def _call(self, command: str, storm: Any, **said: Any) -> Ended:
        begin_ms = self.ground.clock.now_ms
        ended = self._ended(command, storm, **said)
        self._judged(begin_ms, ended, discards=bool(said.get("discard")))
        return ended

    def _ended(self, command: str, storm: Any, **said: Any) -> Ended:
        return self.ground.call(command, "\n".join(self._fault(*each) for each in storm), **said)

    def _judged(self, begin_ms: int, ended: Ended, *, discards: bool = False) -> None:
        assert ended.exit_code == EXIT_CODES.get(ended.status, ended.exit_code), ended
        # Who takes the exchange's word over a store's has to reach it.
        assert ended.exit_code in {0, 1, 3, 5} | ({4} if self.ground.is_away else set()), ended
        if ended.record:
            check_evidence(ended.record)
        self._check(begin_ms, discards=discards)

    def _check(self, begin_ms: int, **than_usual: bool) -> None:
        for model in self.models.values():
            model.check(self.holdings, self.ground.folder, (begin_ms, self.ground.clock.now_ms), **than_usual)

    def _fault(self, fault: tuple[str, str], back: int, path: str, when: str, of: int | None) -> str:
        kind, said = fault
        at = self._target_ms - back * HOUR_MS
        for symbol in self.models:
            self._may_be_said(symbol, kind, said, at)
        text = f'[[fault]]\nkind = "{kind}"\n{said.format(bar=written(at), path=path)}{when}\n'
        return f'{text}symbol = "{self._symbol(of)}"\n' if of is not None and may_choose(kind, text) else text

    def _may_be_said(self, symbol: str, kind: str, said: str, at: int) -> None:
        model = self.models[symbol]
        if kind == "flat":
            model.may_say(at, model.flat(at))
        elif kind == "settle":
            # Two hours may pass in the middle of a call, and the rest of one while it asks again.
            for later in range(at, self._target_ms + 4 * HOUR_MS, HOUR_MS):
                if later in model.versions:
                    model.may_say(later, model.flat(at))
        elif kind == "revise":
            volume = _on_the_wire(symbol, 0.5 if "0.5" in said else 77.25)
            opened, high, low, close, _ = model.truth[at]
            model.may_say(at, (opened, high, 1.0 if "low" in said else low, close, volume))


def _on_the_wire(symbol: str, volume: float) -> float:
    """With as many decimals as the exchange writes; prices move in every bar, and so there is some volume."""
    decimals = MARKET_TAPES[symbol].decimals.volume
    return float(f"{max(volume, 0.1**decimals):.{decimals}f}")


def _values(tape: Tape) -> dict[int, tuple[float, ...]]:
    return {bar.open_time_ms: bar.values for bar in tape.bars}


class MarketLife(Life):
    """The same of three symbols that are fed together."""

    questions = 75

    def made(self, database: str) -> tuple[Ground, dict[str, Model]]:
        models = {each: Model(_values(tape), WINDOW_BARS, Kept.together(each)) for each, tape in MARKET_TAPES.items()}
        return MarketGround(self.root, ERA_MS + HOUR_MS + 30_000, database), models

    def _check(self, begin_ms: int, **than_usual: bool) -> None:
        check_windows(self.ground.folder, self.models)
        super()._check(begin_ms, **than_usual)


class DatabaseLife(Life):
    """The same with a database, which may be away."""

    has_database = True


class MarketDatabaseLife(MarketLife):
    """Three symbols in a database."""

    has_database = True


LIVES = (Life, MarketLife, DatabaseLife, MarketDatabaseLife)


def _fast_folder() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112


def profile(examples: int, steps: int, **more: Any) -> settings:
    return settings(max_examples=examples, stateful_step_count=steps, suppress_health_check=list(HealthCheck), **more)


@pytest.fixture(autouse=True)
def victims() -> Iterator[None]:
    with Victims() as victims:
        Life.victims = victims
        yield


@pytest.mark.parametrize("life", [Life, *(pytest.param(each, marks=pytest.mark.long) for each in LIVES[1:])])
def test_no_promise_breaks_in_a_few_lives(life: type[Life]) -> None:
    run_state_machine_as_test(life, settings=profile(2, 8, derandomize=True, database=None, phases=[Phase.generate]))


@pytest.mark.proof
@pytest.mark.parametrize("life", LIVES)
def test_no_promise_breaks_in_many_lives(life: type[Life]) -> None:
    examples = int(os.environ.get("MODEL_EXAMPLES", "60"))
    run_state_machine_as_test(life, settings=profile(examples, 25, database=None, print_blob=True))


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
    whole = dict.fromkeys(MARKET_TAPES, Window(WINDOW_BARS, is_sound=True))
    for each in (MarketTable, DatabaseMarketTable):
        monkeypatch.setattr(each, "windows", lambda *_: whole)


def _silent_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    # What would be put into the table of revisions is looked at instead.
    for each in (revisions, database_revisions):
        _, select, what = each._AUDIT.partition("SELECT")
        monkeypatch.setattr(each, "_AUDIT", select + what.partition("RETURNING")[0])


def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = writing.csv_bytes
    monkeypatch.setattr(writing, "csv_bytes", lambda bars, **how: whole([*bars][:-1], **how))


def _old_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_end", lambda _: "")
    for each in (MarketTable, DatabaseMarketTable):
        monkeypatch.setattr(each, "end_of", lambda *_: None)


def _blind_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "trust_clock", lambda *_: None)


def _no_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing.Run, "save_pull", lambda _, bars: writing.Written("gone.csv", "", len(bars)))
    monkeypatch.setattr(writing.Run, "save_pulls", lambda *_: writing.Written("gone.parquet", "", 0))


FAIR: list[Any] = []
SLOW_CLOCK = [(("skew", "ms = -7200000"), 0, "time", "", None)]


def _live_an_hour(life: Life) -> None:
    life.time_goes_on(1, 1800)
    life.feed(FAIR, {"catch_up": True})


def _live_two_revisions(life: Life) -> None:
    life.the_exchange_revises_a_bar(1, 3.25, 0)
    life.repair(FAIR, 0)


def _be_overtaken(life: Life) -> None:
    life.time_goes_on(1, 1800)
    for at in range(18, QUESTIONS):
        life.feed_while_another_feed_lives(FAIR, {"catch_up": True}, at, 3600)
        life.time_goes_on(1, 1800)


def _lose_bars(life: Life) -> None:
    life.somebody_takes_bars_out(10, 2, 0)
    _live_an_hour(life)


def _believe_a_slow_clock(life: Life) -> None:
    life.time_goes_on(7, 1800)
    life.feed(SLOW_CLOCK, {"catch_up": True})


def _be_revised(life: Life) -> None:
    life.the_exchange_revises_a_bar(1, 3.25, 0)
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
@pytest.mark.parametrize("life", LIVES)
def test_the_model_catches_a_broken_barfeed(
    breaks: Callable[[pytest.MonkeyPatch], None],
    lives: Callable[[Life], None],
    life: type[Life],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, broken = life(), life()
    whole.begin()
    broken.begin()
    try:
        lives(whole)
        breaks(monkeypatch)
        with pytest.raises(AssertionError):
            lives(broken)
    finally:
        for each in (whole, broken):
            each.let_go()

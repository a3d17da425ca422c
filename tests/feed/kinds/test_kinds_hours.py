"""Every kind of a market through hours in which anything goes wrong: in the end the store is what the exchange has.

Nothing is lost, doubled or shifted, and no row is said to have been known before a pass had it that was due before.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.feed.kinds import of_market
from barfeed.replay.tapes.generator import generate
from feed.kinds.kinds_world import ONE_HOUR, TARGET_MS, KindsWorld
from market_world import MarketWorld
from storage import opened

PATHS = [kind.path.rpartition("/")[2] for kind in KINDS.values() if kind.name not in {"klines", "spot_klines"}]
FAULTS = (
    'kind = "empty"', 'kind = "html"', 'kind = "cut_json"', 'kind = "object"', 'kind = "reset"',
    'kind = "status"\nstatus = 503', 'kind = "status"\nstatus = 400', 'kind = "truncate"',
)  # fmt: skip


class Hours(KindsWorld):
    """A market whose bars are all there, and whose other kinds are in trouble for some of the time."""

    def __init__(self, folder: Path, kinds: Sequence[str], symbols: int, hours: int, seed: int) -> None:
        names = ["BTCUSDT", "ETHUSDT", *(f"S{number}USDT" for number in range(symbols - 2))]
        first_ms, bars = TARGET_MS - 10 * 24 * HOUR_MS, 10 * 24 + hours + 48
        tapes = [generate(name, "1h", first_ms, bars, seed=seed) for name in names]
        MarketWorld.__init__(self, folder, tapes, TARGET_MS + HOUR_MS + 30_000)
        self.with_kinds(*kinds)
        self.kinds = [KINDS[name] for name in kinds]
        self.symbols = names
        self.random = random.Random(seed)

    def faults(self) -> str:
        """One to three troubles of an hour."""
        return "".join(
            f'[[fault]]\n{self.random.choice(FAULTS)}\npath = "{self.random.choice(PATHS)}"\n'
            f"share = {self.random.choice((0.2, 1.0))}\nseed = {self.random.randrange(1000)}\n"
            for _ in range(self.random.randrange(1, 4))
        )

    def live(self, hours: int) -> None:
        """An hour's passes, one or two, some while after the close; half of them with troubles."""
        for hour in range(hours):
            close_ms = TARGET_MS + (hour + 1) * HOUR_MS
            looks = self.random.choice((1, 2))
            for late_ms in sorted(self.random.sample((12_000, 7 * MINUTE_MS, 25 * MINUTE_MS, 50 * MINUTE_MS), looks)):
                # One that waits for limits may be over after this one was due.
                self.clock.go_to(max(self.clock.now_ms + 1000, close_ms + late_ms))
                record = self.run_pass(self.faults() if self.random.random() < 0.5 else "", catch_up=True)
                assert not record.troubles
                assert not record.failure
        self.clock.go_to(max(self.clock.now_ms, TARGET_MS + hours * HOUR_MS) + 20 * MINUTE_MS)
        # The last may have left a hole that only proving some hours back can see.
        assert self.run_pass(catch_up=True).exit_code == 0


def check(world: Hours, first_ms: int) -> None:
    now_ms = world.clock.now_ms
    for kind in world.kinds:
        last_ms = kind.newest_due_ms(now_ms, ONE_HOUR)
        for symbol in world.symbols:
            kept = [row for row in world.kept(kind, symbol) if row[0] >= first_ms]
            assert kept == world.told(kind, symbol, first_ms, last_ms), (kind.name, symbol)
        late = _late(world, kind.name)
        for (symbol, at_ms), known_ms in world.known(kind).items():
            bound_ms = kind.known_at_ms(at_ms, ONE_HOUR)
            seen_ms = max(
                (seen for of, since, until, seen in late if of == symbol and since < at_ms <= until), default=0
            )
            assert known_ms >= max(bound_ms, seen_ms), (kind.name, symbol, at_ms)
            assert seen_ms or known_ms == bound_ms, (kind.name, symbol, at_ms)


def _late(world: Hours, name: str) -> list[tuple[str, int, int, int]]:
    with opened(world.duckdb, read_only=True) as connection:
        if not connection.execute("FROM duckdb_tables() WHERE table_name = 'kinds_late'").fetchall():
            return []
        query = "SELECT symbol, epoch_ms(since), epoch_ms(until), epoch_ms(seen_at) FROM kinds_late WHERE kind = ?"
        return connection.execute(query, [name]).fetchall()


@pytest.fixture
def without_wide_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands beside the bars is looked at elsewhere, and would be a third of each pass."""
    monkeypatch.setattr(of_market, "publish_windows", lambda *_: None)


@pytest.mark.long
@pytest.mark.usefixtures("without_wide_tables")
@pytest.mark.parametrize(
    ("kinds", "symbols", "hours", "seed"),
    [
        (("premium_index", "funding", "open_interest"), 2, 2, 1),
        pytest.param(tuple(KINDS), 4, 8, 2, marks=pytest.mark.proof),
        pytest.param(tuple(KINDS), 20, 200, 3, marks=pytest.mark.proof),
    ],
)
def test_whatever_goes_wrong_in_the_end_all_is_there(
    tmp_path: Path, kinds: Sequence[str], symbols: int, hours: int, seed: int
) -> None:
    world = Hours(tmp_path, kinds, symbols, hours, seed)
    assert world.run_pass(catch_up=True).exit_code == 0
    world.live(hours)
    check(world, TARGET_MS)


@pytest.mark.parametrize(("days", "lost"), [(29, 0), pytest.param(31, 25, marks=pytest.mark.long)])
def test_a_hole_of_so_many_days_is_filled_by_the_next_pass_as_far_as_the_exchange_remembers(
    tmp_path: Path, days: int, lost: int
) -> None:
    interest = KINDS["open_interest"]
    world = Hours(tmp_path, ("premium_index", "open_interest"), 2, 32 * 24, 4)
    world.clock.go_to(TARGET_MS + HOUR_MS + 7 * MINUTE_MS)
    assert world.run_pass(catch_up=True).exit_code == 0
    world.clock.go_to(world.clock.now_ms + days * 24 * HOUR_MS)
    record = world.run_pass(catch_up=True)
    assert record.exit_code == 0
    last_ms = TARGET_MS + days * 24 * HOUR_MS
    for kind, first_ms in ((KINDS["premium_index"], TARGET_MS), (interest, TARGET_MS + HOUR_MS * (lost + 1))):
        for symbol in world.symbols:
            kept = [at_ms for at_ms, *_ in world.kept(kind, symbol) if at_ms > TARGET_MS]
            assert kept == list(range(max(first_ms, TARGET_MS + HOUR_MS), last_ms + 1, HOUR_MS)), (kind.name, symbol)
    # Nobody was there to be without it: it is known from when it could have been.
    assert all(
        known_ms == interest.known_at_ms(at_ms, ONE_HOUR) for (_, at_ms), known_ms in world.known(interest).items()
    )

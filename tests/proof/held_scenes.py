"""The feed under attack beside another process that has its file open, to read or to write, and does not let go of it.

Whatever strikes, no byte of the file changes, the same command gives the hour beside it all the same, and the first one
that gets the file appends what waited.
"""

from pathlib import Path

from barfeed.domain.bars import Bar
from holding import held
from process import Ran
from proof.market_scenes import Held as HeldBars
from proof.market_scenes import LakePass, Pass, taped
from proof.proof_world import TAPE, TARGET_MS, file_of, make_disk
from proof.scenes import Scene
from world import hours

# Its newest bar is not stored when the attack begins: that hour was lived beside the other process, too.
_PENDING_MS = (TARGET_MS - hours(1), TARGET_MS)


class Beside(Scene):
    """What is the same of one series and of a market."""

    to = "read"

    def make(self, folder: Path) -> Path:
        """Two hours with the file, and one without."""
        root = make_disk(self.world, folder, self.words(folder), lived=(3, 2))
        self.world.clock.set(TARGET_MS + 30_000)
        done = self.run(root)
        assert done.code == 0, done.err
        assert " pending=" in done.out
        self.world.set_minute(0)
        return root

    def words(self, root: Path) -> list[str]:
        return [*super().words(root), "--catch-up"]

    def run(self, root: Path, *tracing: str) -> Ran:
        """Beside the other, of whose file no byte changes."""
        file = file_of(root)
        before = file.read_bytes()
        with held(file, to=self.to):
            ran = super().run(root, *tracing)
        assert file.read_bytes() == before, "a file that another held was changed"
        return ran

    def heal(self, root: Path) -> Ran:
        """The hour is given beside the other; then that lets go."""
        beside = self.run(root)
        assert (beside.code, " appended=0 " in beside.out) == (0, True), beside
        self.check_given(root)
        return super().heal(root)

    def check_result(self, root: Path) -> None:
        """All that an hour can do meanwhile."""
        self.check_given(root)

    def check_done(self, root: Path, done: Ran) -> None:
        super().check_done(root, done)
        self.check_stored(root)


class BesideReader(Beside):
    """An hour of one series beside a notebook."""

    name = "feed, beside a reader"

    def check_files(self, root: Path, held: dict[int, Bar]) -> None:
        super().check_files(root, held | {at: TAPE[at] for at in _PENDING_MS})


class BesideWriter(BesideReader):
    """The same where the file cannot even be read: the last window stands in."""

    name = "feed, beside a writer"
    to = "write"


class PassBesideReader(Beside, LakePass):
    """An hour of a market with its lake beside a notebook."""

    name = "feed, a market beside a reader"

    def check_windows(self, root: Path, held: HeldBars) -> None:
        super().check_windows(root, _with_pending(held))


class PassBesideWriter(Beside, Pass):
    """The same where the file cannot even be read, without a lake."""

    name = "feed, a market beside a writer"
    to = "write"

    def check_windows(self, root: Path, held: HeldBars) -> None:
        super().check_windows(root, _with_pending(held))


def _with_pending(held: HeldBars) -> HeldBars:
    return {symbol: bars | {at: taped()[symbol][at] for at in _PENDING_MS} for symbol, bars in held.items()}


HELD_SCENES = (BesideReader, BesideWriter, PassBesideReader, PassBesideWriter)

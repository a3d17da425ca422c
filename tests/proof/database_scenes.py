"""The commands that feed and mend a database under attack: the same questions as to those of a file.

The disk of such a feed has no store: a note on it names the database, and whoever copies the disk copies that, too.
"""

from pathlib import Path

from pg_server import copied, drop, new_market, shared_server
from proof.market_scenes import FirstPass, Pass
from proof.proof_world import DATABASE_NOTE, database_of
from proof.scenes import FirstStart, Repair, Scene, Watch


class InDatabase(Scene):
    """A command whose store is a database that nobody else feeds."""

    def make(self, folder: Path) -> Path:
        """The disk, and a database of its own."""
        folder.mkdir(parents=True)
        (folder / DATABASE_NOTE).write_text(new_market())
        return super().make(folder)

    def lay(self, root: Path) -> Path:
        """Both, as they are to begin with."""
        if database_of(root):
            drop(database_of(root))
        (super().lay(root) / DATABASE_NOTE).write_text(copied(database_of(self.start)))
        return root

    def names(self, root: Path) -> tuple[str, ...]:
        """Its disk, or its database."""
        return (*super().names(root), database_of(root))

    @property
    def server(self) -> str:
        """Where its socket is."""
        return str(shared_server().folder)


class Feed(InDatabase):
    """An hour of one series."""

    name = "feed, a database"


class FeedFirstStart(InDatabase, FirstStart):
    """The same, of tables that hold nothing."""

    name = "feed, a database's first start"


class FeedWatch(InDatabase, Watch):
    """A feed for ever."""

    name = "feed, --watch, a database"


class RepairOfDatabase(InDatabase, Repair):
    """A gap and two mismatches, mended."""

    name = "repair, a database"


class PassOfDatabase(InDatabase, Pass):
    """An hour of five symbols."""

    name = "feed, a market in a database"


class FirstPassOfDatabase(InDatabase, FirstPass):
    """The same, of tables that hold nothing."""

    name = "feed, a market's first pass in a database"


DATABASE_SCENES = (Feed, FeedFirstStart, FeedWatch, RepairOfDatabase, PassOfDatabase, FirstPassOfDatabase)

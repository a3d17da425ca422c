"""Where a lake's table stands: what the exporter asks of a folder or of a bucket."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.manifest import Manifest
from barfeed.store.lake.table import AnyTable


class Files(Protocol):
    """The files of one table of a lake, by their names below it. Everything raises `LakeUnusable`, and nothing else."""

    @property
    def address(self) -> str:
        """As messages name it."""

    def exporting(self) -> AbstractContextManager[bool]:
        """Be the only one who writes; False where somebody else has been for longer than can be waited."""

    def folders(self) -> set[str]:
        """The names of what stands directly below, but for files."""

    def names(self) -> set[str]:
        """The name of every Parquet file, however deep below."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""

    def save(self, name: str, content: bytes) -> None:
        """Put a small file in place of the one there, in one step."""

    def placing(self, name: str) -> AbstractContextManager[Path]:
        """A path to write a file to; at the end it takes the name in one step, for whoever reads then."""

    def at_hand(self, name: str) -> AbstractContextManager[Path | None]:
        """A path to read a file from; None where there is none."""

    def remove(self, name: str) -> None:
        """Take a file away."""


def saved(files: Files, table: AnyTable) -> Manifest | None:
    """What a lake says of a table; None where it says nothing."""
    content = files.read(manifests.NAME)
    return manifests.decoded(content, f"{files.address}/{manifests.NAME}", table) if content is not None else None

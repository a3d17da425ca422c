"""The hour's world, for a feed that listens."""

from hour.conftest import TARGET_MS, started, world

__all__ = ["TARGET_MS", "started", "world"]

"""Which days of a lake are to be written, from what the store and the manifest say. Pure."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from barfeed.store.lake.manifest import Manifest, Stamp


class Plan(NamedTuple):
    """The days to write, newest first, and those that the store has no row of any more."""

    write: list[str]
    drop: list[str]


def planned(manifest: Manifest, days: Collection[str], stamps: Mapping[str, Stamp], lost: Collection[str]) -> Plan:
    """What is to be done of the days looked at, of which the store has `stamps`; the files of those `lost` are gone."""
    write = [day for day in stamps if day in lost or not _is_written(manifest, day, stamps[day])]
    drop = [day for day in days if day in manifest.files and day not in stamps]
    return Plan(sorted(write, reverse=True), sorted(drop))


def _is_written(manifest: Manifest, day: str, stamp: Stamp) -> bool:
    return day in manifest.files and manifest.files[day].stamp == stamp

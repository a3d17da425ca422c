"""Scripted faults of the archive: which files they strike, and the `[[archive]]` entries that say so."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from barfeed.domain.errors import UsageError
from barfeed.replay.faults.script import ENDLESS, KEYS, Key

HINT = "docs/replay.md has an example of every fault of the archive"
VALUES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class ArchiveFault:
    """One thing that is wrong with the files that `file` (a glob) fits, and with their checksums.

    The glob is of a stem, `BTCUSDT-1h-2024-*`, or with its folder before it: `metrics/BTCUSDT-*`.
    """

    kind: str
    file: str = "*"
    args: Mapping[str, Any] = field(default_factory=dict)
    requests: range = range(1, ENDLESS)

    def hits(self, folder: str, stem: str, number: int) -> bool:
        """Whether it strikes request `number` for a file, counted by path from 1."""
        name = f"{folder}/{stem}" if "/" in self.file else stem
        return fnmatchcase(name, self.file) and number in self.requests

    def touches(self, open_time_ms: int) -> bool:
        """Whether it is about this bar, or the row of another kind that is told at this time.

        That is `bar` itself, or from it to `until_bar`.
        """
        bar = int(self.args["bar"])
        return bar <= open_time_ms <= int(self.args.get("until_bar", bar))


class ArchiveKind(NamedTuple):
    """A kind of fault: what it does, the keys it needs and may have besides `file` and `requests`."""

    does: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()


ARCHIVE_KINDS = {
    "missing": ArchiveKind("404"),
    "status": ArchiveKind("`status` instead of the file", ("status",)),
    "lacks": ArchiveKind("the file lacks `bar` to `until_bar`; its checksum fits", ("bar",), ("until_bar",)),
    "flat": ArchiveKind("nothing was traded from `bar` to `until_bar`", ("bar",), ("until_bar",)),
    "revise": ArchiveKind("`bar` has other values", ("bar",), VALUES),
    "doubled": ArchiveKind("each row from `bar` to `until_bar` comes twice", ("bar",), ("until_bar",)),
    "zero": ArchiveKind("`columns` are 0 from `bar` to `until_bar`", ("columns", "bar"), ("until_bar",)),
    "header": ArchiveKind("a header is `there`, or not", ("there",)),
    "microseconds": ArchiveKind("times are in microseconds"),
    "wrong_checksum": ArchiveKind("the CHECKSUM is of another file"),
    "no_checksum": ArchiveKind("the CHECKSUM is not there, the zip is"),
    "truncated": ArchiveKind("the zip ends in its middle; its checksum fits"),
    "member": ArchiveKind("the CSV in the zip is called `value`", ("value",)),
    "bomb": ArchiveKind("the CSV unpacks to `megabytes` more", ("megabytes",)),
    "text": ArchiveKind("the last row's close is `value`", ("value",)),
}


def _a_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _columns(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise TypeError
    return tuple(map(_a_text, value))


def _a_switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _a_status(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 400 <= value < 600:  # noqa: PLR2004 - HTTP's
        raise ValueError
    return value


_READ: dict[str, Key] = {
    **{name: KEYS[name] for name in ("requests", "bar", "until_bar", *VALUES)},
    "file": Key(_a_text, 'a glob of names without .zip, like "BTCUSDT-1h-2024-*" or "metrics/*"'),
    "there": Key(_a_switch, "true or false"),
    "value": Key(_a_text, "a text"),
    "columns": Key(_columns, 'a list of the header\'s words, like ["sum_open_interest"]'),
    "status": Key(_a_status, "a status from 400 to 599"),
    "megabytes": KEYS["rows"],
}


def load_archive_faults(path: str | Path) -> tuple[ArchiveFault, ...]:
    """The faults of a file; `UsageError` says what is wrong with it."""
    try:
        # With a byte order mark or without.
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: {reason}; expected a TOML file of faults", hint=HINT) from error
    return parse_archive_faults(text, str(path))


def parse_archive_faults(text: str, name: str) -> tuple[ArchiveFault, ...]:
    """The `[[archive]]` entries of a TOML text; `name` is what messages call it."""
    try:
        file = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: {error}; expected TOML", hint=HINT) from error
    entries = file.get("archive", [])
    others = sorted(set(file) - {"archive"})
    if others or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(f"{name}: {others[:1] or 'archive'} is not a list of faults; expected [[archive]]", hint=HINT)
    return tuple(_fault(entry, f"{name}: fault {number}") for number, entry in enumerate(entries, start=1))


def _fault(entry: dict[str, Any], where: str) -> ArchiveFault:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in ARCHIVE_KINDS:
        raise UsageError(f"{where}: kind = {kind!r}; allowed: {', '.join(ARCHIVE_KINDS)}", hint=HINT)
    needs, may = ARCHIVE_KINDS[kind][1:]
    allowed = (*needs, *may, "file", "requests")
    given = {name: _value(f"{where} ({kind})", allowed, name, value) for name, value in entry.items() if name != "kind"}
    for name in needs:
        if name not in given:
            raise UsageError(f"{where} ({kind}): {name} is missing; allowed: {_READ[name].allowed}", hint=HINT)
    args = {name: value for name, value in given.items() if name in (*needs, *may)}
    return ArchiveFault(kind, given.get("file", "*"), args, given.get("requests", range(1, ENDLESS)))


def _value(where: str, allowed: tuple[str, ...], name: str, value: Any) -> Any:
    if name not in allowed:
        raise UsageError(f"{where}: no key {name!r}; allowed: {', '.join(('kind', *allowed))}", hint=HINT)
    try:
        return _READ[name].read(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {name} = {value!r}; allowed: {_READ[name].allowed}", hint=HINT) from error

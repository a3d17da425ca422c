"""What `barfeed doctor` says of what it saw. Pure decisions: one value a line."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.life import Life, Seen, why_no_bar

# A note is worth reading and no fault: the feed runs without what it tells of.
State = Literal["good", "note", "bad"]

# Below, DuckDB may not find room for one more checkpoint.
ROOM_BYTES_MIN = 50_000_000
ROOM_DAYS_MIN = 7.0
_MEGABYTE = 1_000_000


class Check(NamedTuple):
    """One thing that was looked at: how it is, what was seen, and what mends or makes it."""

    name: str
    state: State
    seen: str
    fix: str = ""


class Scheduled(NamedTuple):
    """A timer, unit or crontab line that mentions the feed, and whether it is switched on."""

    what: str
    on: bool


def not_in_time(name: str, limit_sec: float) -> Check:
    """Whatever hangs is a fault of its own."""
    fix = "find out what hangs: name resolution, a firewall that drops packets, or a disk that is not there"
    return Check(name, "bad", f"not known after {limit_sec:g} s", fix)


def clock(skew_sec: float, max_skew_sec: float) -> Check:
    """The machine's clock beside the exchange's; positive where the machine is fast."""
    seen = f"{abs(skew_sec):.2f} s {'ahead of' if skew_sec > 0 else 'behind'} the exchange's"
    if abs(skew_sec) <= max_skew_sec:
        return Check("clock", "good", seen)
    fix = "set the machine's clock: timedatectl set-ntp true; the exchange's is used until then"
    return Check("clock", "bad", f"{seen}, more than --max-skew-sec {max_skew_sec:g}", fix)


def no_locks(folder: object, said: str) -> Check:
    """A disk on which DuckDB opens no file for writing."""
    fix = "put the store on another disk, of this machine: --duckdb; NFS: mount it with lockd or local_lock=all"
    return Check("locks", "bad", f"{folder} is on a disk that cannot lock files: {said}", fix)


def certificate(name: str, address: str, until_ms: int | None) -> Check:
    """A connection that was made; `until_ms` is when its trusted certificate ends, None without TLS."""
    trusted = "without TLS" if until_ms is None else f"certificate trusted, until {grid.text(until_ms)} UTC"
    return Check(name, "good", f"{address}: {trusted}")


def symbol(series: Series, now: Life | None) -> Check:
    """What the exchange lists the symbol as; None where it does not tell."""
    if now is None:
        return Check(
            "symbol", "note", f"{series.symbol}: the exchange did not tell what it is", "see the line exchange"
        )
    if now.stage == "trading":
        state: State = "good" if now.at_ms is None else "note"
        return Check("symbol", state, f"{series.symbol}: {now}", "" if now.at_ms is None else "no bars come after that")
    why = why_no_bar(series, now, Seen(None, ""))
    return Check(
        "symbol",
        "bad",
        f"{series.symbol}: {now}",
        "the line newest bar tells what to do" if now.stage == "settled" else why.hint,
    )


def after(hint: str, status: str) -> str:
    """What helps after a cycle that failed: what it said itself, and where more is told."""
    page = f"docs/operating.md tells what to do about {status}"
    return f"{hint}; {page}" if hint else page


def not_traded(seen: str) -> Check:
    """Bars in which nothing was traded, among the newest."""
    return Check("trades", "bad", seen, "the line symbol tells whether it has ended; an outage passes by itself")


def constraints(series: Series, asked: Sequence[str]) -> Check:
    """What a user's own table asks of a bar beside its key, and the newest has kept."""
    fix = "nothing, while bars keep it; one that does not is refused, and its hour told so"
    return Check("constraints", "note", f"{series.table}: {'; '.join(asked)}", fix)


def room(free_bytes: int, day_bytes: int | None, prune: str) -> Check:
    """Free space, and how many days of artifacts fit in it; `day_bytes` is None before the first run.

    `prune` is the command that makes room.
    """
    days = free_bytes / day_bytes if day_bytes else None
    seen = f"{free_bytes / _MEGABYTE:,.0f} MB free"
    if day_bytes and days is not None:
        seen += f", {days:,.0f} days at {day_bytes / _MEGABYTE:.1f} MB a day"
    if free_bytes >= ROOM_BYTES_MIN and (days is None or days >= ROOM_DAYS_MIN):
        return Check("space", "good", seen)
    return Check("space", "bad", seen, f"make room, or fold old runs into zips: {prune}")


def scheduler(found: Sequence[Scheduled]) -> Check:
    """Who starts the feed; nobody is only a note, for it may be a container's or a person's own loop."""
    on = [each.what for each in found if each.on]
    if on:
        return Check("scheduler", "good", ", ".join(on))
    if found:
        seen = f"{', '.join(each.what for each in found)}: installed, but not enabled"
        return Check("scheduler", "bad", seen, "enable it: systemctl enable --now barfeed.timer")
    return Check("scheduler", "note", "none found", "docs/install.md has a recipe for each system")


def installed(name: str, versions: Mapping[str, str | None], wanted_by: Sequence[str]) -> Check:
    """An extra by its packages' versions, None where one is absent, and the flags given that need it."""
    absent = [package for package, version in versions.items() if version is None]
    if not absent:
        seen = ", ".join(f"{package} {version}" for package, version in versions.items())
        return Check(f"extra {name}", "good", seen)
    seen = f"{', '.join(absent)} not installed"
    install = f"pip install 'barfeed[{name}]'"
    if wanted_by:
        return Check(f"extra {name}", "bad", f"{seen}, but {', '.join(wanted_by)} needs it", install)
    return Check(f"extra {name}", "note", seen, f"only if it is wanted: {install}")

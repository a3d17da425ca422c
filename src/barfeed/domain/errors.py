"""Every way a user can be told no, drawn as a tree by whose move is next.

BarfeedError
├── ValidationFailed      1  what is stored and what the exchange says do not fit; the store is as it was
│   ├── StoreEmpty           no history to validate against
│   ├── MissedBars           the store ends before the window does
│   ├── StoreAhead           the store holds bars that are not closed by the exchange's clock
│   ├── Mismatch             stored bars differ from the exchange's
│   ├── Unrepaired           a repair left what it could not mend
│   └── WindowGap            the inference window has a gap: no CSV is published
├── UsageError            2  wrong flag or configuration
├── ExchangeUnavailable   3  not reached in time, or it limits us: try again later
│   ├── BarLate              the exchange does not show the target yet
│   ├── KindLate             nor what is due of another kind of series
│   ├── SymbolNotTrading     halted, settling or not trading yet: no bar comes until that changes
│   └── ExchangeBlocked      418 or 403: every call stops until it lifts the block
├── LocalError            4  this machine's disk
│   ├── StoreUnusable        locked, corrupt, read-only, newer, of another shape
│   ├── ArtifactsUnusable    the artifact folder cannot be written
│   └── LakeUnusable         the lake cannot be written or read, or is not this store's
└── ExchangeRefused       5  retrying cannot help
    ├── SymbolGone           settled, delisted or never listed: no bar will come
    └── ContractBroken       its answer breaks its own contract

Each carries its exit code, the facts as attributes, and a hint that names what helps.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

# EX_SOFTWARE of sysexits.h: barfeed itself is wrong, or somebody stopped it in the middle.
INTERRUPTED_EXIT_CODE = 70


class BarfeedError(Exception):
    """Something the user can act on: a message that says what, and a hint that says what helps.

    `retry_after_sec`, where known, is how long the exchange asked to be left alone; `last_bar_ms` the open_time of a
    settled symbol's last bar.
    """

    exit_code: ClassVar[int]
    default_hint: ClassVar[str] = ""
    retry_after_sec: float | None = None
    last_bar_ms: int | None = None

    def __init__(self, message: str, *, hint: str = "", findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint
        # What rules found, for the manifest; the message tells the first and the count.
        self.findings = tuple(findings)

    @property
    def status(self) -> str:
        """The error's name in the manifest and on the exit line, `window_gap`."""
        name = type(self).__name__
        return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


class ValidationFailed(BarfeedError):
    """What is stored and what the exchange says do not fit together."""

    exit_code = 1


class StoreEmpty(ValidationFailed):
    """There is no stored history to validate against."""


class MissedBars(ValidationFailed):
    """The store ends before the window does."""


class StoreAhead(ValidationFailed):
    """The store holds bars that are not closed by the exchange's clock."""


class Mismatch(ValidationFailed):
    """Stored bars differ from what the exchange says now."""


class Unrepaired(ValidationFailed):
    """A repair left what it could not mend, or changed nothing at all."""


class WindowGap(ValidationFailed):
    """The inference window is not whole."""


class UsageError(BarfeedError):
    """A flag, variable or configuration value cannot be used."""

    exit_code = 2
    default_hint = "see --help"


class ExchangeUnavailable(BarfeedError):
    """The exchange could not be reached in time, or limits us."""

    exit_code = 3
    default_hint = "the store is as it was; run it again later"

    def __init__(self, message: str, *, retry_after_sec: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after_sec = retry_after_sec


class BarLate(ExchangeUnavailable):
    """The exchange does not show the target yet."""

    default_hint = "run it again later, or wait longer with --max-wait-sec"


class KindLate(ExchangeUnavailable):
    """The exchange does not show yet what is due of a kind of series; the bars are as they are."""

    default_hint = "the next pass asks for it again: it is late, not lost"


class SymbolNotTrading(ExchangeUnavailable):
    """The symbol is halted, settling or not trading yet: no bar comes until that changes."""


class ExchangeBlocked(ExchangeUnavailable):
    """The exchange shut this address out; calling on would make it longer."""

    default_hint = "stop every client on this address, wait until the block ends, then run it again"


class LocalError(BarfeedError):
    """The store or the artifact folder cannot be used."""

    exit_code = 4


class StoreUnusable(LocalError):
    """The DuckDB file is locked, corrupt, read-only, newer than this DuckDB or of another shape; or a server's trouble.

    `is_held` where it is as good as ever, but another process has it; `is_away` where it cannot even be read for now: a
    server out of reach, or a file that another process writes.
    """

    def __init__(self, message: str, *, is_held: bool = False, is_away: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.is_held = is_held
        self.is_away = is_away


class ArtifactsUnusable(LocalError):
    """The artifact folder cannot be written."""

    default_hint = "check that --persist-dir is a folder you may write to and that its disk is not full"


class LakeUnusable(LocalError):
    """The lake cannot be written or read, is cut, ahead of the store, or another store's.

    `is_torn` where a file of it could not be read: one that is replaced meanwhile is whole at the next look.
    """

    def __init__(self, message: str, *, is_torn: bool = False, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.is_torn = is_torn


class ExchangeRefused(BarfeedError):
    """The exchange refused the request; sending it again cannot help. `code` is its own, where it told one."""

    exit_code = 5

    def __init__(self, message: str, *, code: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.code = code


class SymbolGone(ExchangeRefused):
    """The symbol is settled, delisted, or was never listed: no bar will come."""

    def __init__(self, message: str, *, last_bar_ms: int | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.last_bar_ms = last_bar_ms


class ContractBroken(ExchangeRefused):
    """The exchange's answer breaks its own contract."""

    default_hint = (
        "the manifest, and the answer where it could be read, are in the artifact folder; report it if it stays"
    )

"""What the page is told, as JSON.

Moments are ms since 1970-01-01 UTC, prices in the quote asset, volumes in the base asset.
"""

from typing import Any

import msgspec

from barfeed.operate.web.manifests import Run

Values = list[float | None]


class Candles(msgspec.Struct):
    """Equal steps from `first_ms` on, one entry a step in each list; null where no bar of the step is stored.

    `bars` is how many are, `bars_of_step` how many a whole step has. `history` is the span of all that is stored.
    """

    symbol: str
    interval: str
    first_ms: int
    step_ms: int
    bars_of_step: int
    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values
    bars: list[int]
    history: tuple[int, int]


class Pane(msgspec.Struct):
    """A column of another kind of series: the value that was known at the end of each step, null where none was."""

    name: str
    unit: str
    values: Values


class Beside(msgspec.Struct):
    """What is fed beside the bars, in the steps of `candles` for the same question; no pane where nothing is."""

    symbol: str
    interval: str
    first_ms: int
    step_ms: int
    panes: list[Pane]


class Gap(msgspec.Struct):
    """Bars that the store lacks, both ends included."""

    first_ms: int
    last_ms: int
    bars: int


class Revision(msgspec.Struct):
    """A stored bar that was changed, both versions as open, high, low, close, volume.

    `old` is empty for one that was let pass as it is.
    """

    at_ms: int
    old: list[float | None]
    new: list[float | None]
    seen_at_ms: int
    reason: str
    run: str


class Refusal(msgspec.Struct):
    """An hour that a run had no bar of, and why."""

    at_ms: int
    status: str
    message: str
    hint: str
    folder: str
    run: str


class Prediction(msgspec.Struct):
    """A model's word on a bar: the log return expected over `horizon_hours`, and what came of it once that is over."""

    at_ms: int
    y_pred: float
    model: str
    horizon_hours: int | None
    came: float | None


class Marks(msgspec.Struct):
    """What stands on a chart beside its bars."""

    gaps: list[Gap]
    revisions: list[Revision]
    refusals: list[Refusal]
    predictions: list[Prediction]


class Day(msgspec.Struct):
    """One UTC day, `bars` of `due` stored; `state` is gap, revised, refused, late or whole: the first that is true."""

    day_ms: int
    state: str
    bars: int
    due: int
    revised: int
    refused: int
    late: int


class Calendar(msgspec.Struct):
    """The days of a series."""

    symbol: str
    interval: str
    days: list[Day]


class Row(msgspec.Struct):
    """A series: what is stored of it, how far it is behind, and what is wrong; `state` is well, trouble or quiet."""

    symbol: str
    interval: str
    state: str
    bars: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    missing: int = 0
    revisions: int = 0
    lag_ms: int | None = None
    trouble: str = ""
    hint: str = ""
    status: str = ""
    contract: str = ""
    onboard_ms: int | None = None
    delivery_ms: int | None = None


class Market(msgspec.Struct):
    """Every series, worst first; `flags` is what a command is told to mean this store."""

    now_ms: int
    store: str
    store_bytes: int
    trouble: str
    hint: str
    rows: list[Row]
    flags: str


class RunList(msgspec.Struct):
    """Runs, newest first."""

    runs: list[Run]


class File(msgspec.Struct):
    """A file of a run as its manifest tells it; `bytes` is null where it is gone."""

    name: str
    sha256: str
    rows: int
    bytes: int | None


class Detail(msgspec.Struct):
    """A run with its whole manifest and its files."""

    run: Run
    manifest: dict[str, Any]
    files: list[File]
    manifest_file: str
    where: str


class Check(msgspec.Struct):
    """What a file's bytes are now, and whether that is what its manifest tells."""

    name: str
    told: str
    seen: str
    is_same: bool


class Feeder(msgspec.Struct):
    """A host's feed of a database: its last pass, and what is wrong with it.

    `lag_ms` is how long ago the newest bar closed that it saw stored.
    """

    host: str
    feed: str
    version: str
    last_pass_ms: int
    status: str
    lag_ms: int | None
    trouble: str
    hint: str


class Now(msgspec.Struct):
    """The exchange's clock by the skew that this host's newest run measured, and how that run ended.

    `feeders` are those who feed a database, worst first, null where the store is a file; `trouble` is why they are not
    known.
    """

    now_ms: int
    skew_sec: float | None
    run: Run | None
    log: str
    interval_ms: int
    version: str
    feeders: list[Feeder] | None = None
    trouble: str = ""
    hint: str = ""

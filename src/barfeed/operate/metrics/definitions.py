"""What is measured: one table, from which the metrics, their docs and their tests are made. Pure."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, get_args

from barfeed import __version__
from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.grid import Gap
from barfeed.exchange.rest import Conversation
from barfeed.exchange.stream.wire import Followed
from barfeed.feed.record import Failure, Lived, Newest, Step
from barfeed.operate.metrics.exposition import Family, Kind, Sample
from barfeed.operate.metrics.lagging import NAMED_MAX, lagging
from barfeed.operate.status import lag_ms

BUCKETS_SEC = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, math.inf)

# Known before they happen, so that the first of each is an increase, too.
_GOOD = ("appended", "pending", "revised", "up_to_date", "dry_run")
_REASONS = (
    "store_empty", "missed_bars", "mismatch", "window_gap", "store_ahead", "exchange_unavailable", "bar_late",
    "kind_late", "symbol_not_trading", "exchange_blocked", "store_unusable", "artifacts_unusable", "exchange_refused",
    "symbol_gone", "contract_broken",
)  # fmt: skip
_ENDS = ("appended", "pending", "revised", "up_to_date", "quiet", *_REASONS)
_RETRIES = ("connection", "http_429", "late", "not_json", "timeout", "unsettled")

Samples = Mapping[Sample, float]


class Cycle(NamedTuple):
    """One cycle, or a pass, as it ended: `at_sec` by the machine's clock, `store_bytes` None where there is no file.

    `requests` and `retries` are its own: several passes may share a conversation.
    """

    record: Lived
    series: Series
    talk: Conversation
    requests: int
    retries: Mapping[str, int]
    at_sec: float
    store_bytes: int | None


# What a cycle says of a metric, by the value of its label; "" where it has none. What it does not know is left out.
Read = Callable[[Cycle], Mapping[str, float]]


class Metric(NamedTuple):
    """One row of the table: a counter grows by what `read` gives, a histogram files it, a gauge says it.

    `begins` is what it says before the first cycle. Only a market has what is `of_many`. Where there is `follow`, no
    cycle is asked but the stream, at any moment: its counters begin with the process.
    """

    name: str
    kind: Kind
    says: str
    read: Read
    label: str = ""
    begins: Mapping[str, float] = {}
    of_many: bool = False
    follow: Callable[[Followed], float] | None = None


def _zero(*values: str) -> dict[str, float]:
    return dict.fromkeys(values or ("",), 0.0)


def _told(value: float | None) -> dict[str, float]:
    return {} if value is None else {"": value}


def _nothing(_: Cycle) -> dict[str, float]:
    return {}


def _succeeded(cycle: Cycle) -> dict[str, float]:
    return _told(cycle.at_sec if cycle.record.is_of_use and not cycle.record.dry_run else None)


def _newest_sec(cycle: Cycle) -> dict[str, float]:
    newest_ms = cycle.record.measured.newest_ms
    return _told(None if newest_ms is None else newest_ms / 1000)


def _mismatches(cycle: Cycle) -> dict[str, float]:
    findings = [
        found for each in cycle.record.measured.failures if each.status == "mismatch" for found in each.findings
    ]
    return {"": float(sum(found.rule != "gap" for found in findings))}


def _gaps(cycle: Cycle) -> dict[str, float]:
    # Bars that were only missed stand at the store's end, not inside it.
    inside = [each for each in cycle.record.measured.failures if each.status in {"mismatch", "window_gap"}]
    return {"": float(sum(len(_gaps_of(each, cycle.series.interval.ms)) for each in inside))}


def _gaps_of(failure: Failure, step_ms: int) -> list[Gap]:
    found = [each.open_time_ms for each in failure.findings if each.rule == "gap"]
    return grid.gaps([each for each in found if each is not None], step_ms)


def _refusal(cycle: Cycle) -> dict[str, float]:
    return {each.status: 1.0 for each in cycle.record.measured.failures if each.exit_code}


def _ended(cycle: Cycle) -> dict[str, float]:
    ended = cycle.record.measured.ended
    return {} if ended is None else {**_zero(*_ENDS), **ended}


METRICS = (
    Metric(
        "barfeed_info", "gauge", "Always 1; its label tells which barfeed this is.",
        lambda _: {__version__: 1.0}, "version", {__version__: 1.0},
    ),
    Metric(
        "barfeed_lag_seconds", "gauge",
        "How long ago the first bar closed that is not stored, by the exchange's clock; below zero while it forms.",
        _nothing,
    ),
    Metric(
        "barfeed_newest_bar_timestamp_seconds", "gauge", "The open_time of the newest stored bar.", _newest_sec
    ),
    Metric(
        "barfeed_last_success_timestamp_seconds", "gauge",
        "When a cycle last ended with exit 0, dry runs aside, by the machine's clock; 0 before the first.",
        _succeeded, "", _zero(),
    ),
    Metric(
        "barfeed_cycles_total", "counter", "Cycles that ended, by the manifest's status.",
        lambda cycle: {cycle.record.status: 1.0}, "status", _zero(*_GOOD, *_REASONS),
    ),
    Metric(
        "barfeed_refusals_total", "counter", "Cycles that failed, by the word after failed= on the exit line.",
        _refusal, "reason", _zero(*_REASONS),
    ),
    Metric(
        "barfeed_bars_appended_total", "counter", "Bars appended.",
        lambda cycle: _told(cycle.record.measured.appended), "", _zero(),
    ),
    Metric(
        "barfeed_mismatches_total", "counter",
        "Stored bars that the exchange contradicted and nobody accepted, counted by every cycle that sees them.",
        _mismatches, "", _zero(),
    ),
    Metric(
        "barfeed_gaps_total", "counter", "Gaps inside the stored bars, counted by every cycle that sees them.",
        _gaps, "", _zero(),
    ),
    Metric(
        "barfeed_revisions_total", "counter", "Mismatches accepted by --on-mismatch accept.",
        lambda cycle: _told(cycle.record.measured.revised), "", _zero(),
    ),
    Metric(
        "barfeed_requests_total", "counter", "Requests that cycles made of the exchange.",
        lambda cycle: _told(cycle.requests), "", _zero(),
    ),
    Metric(
        "barfeed_retries_total", "counter",
        "Requests without a usable answer: http_ and its status, connection, timeout, not_json; late, no bar yet;"
        " unsettled, two answers of --confirm-reads that differ.",
        lambda cycle: dict(cycle.retries), "reason", _zero(*_RETRIES),
    ),
    Metric(
        "barfeed_request_weight", "gauge",
        "The weight that this address has used in the exchange's minute, as its last answer told.",
        lambda cycle: _told(cycle.talk.used_weight),
    ),
    Metric(
        "barfeed_clock_skew_seconds", "gauge", "How far the machine's clock is ahead of the exchange's.",
        lambda cycle: _told(cycle.talk.time.skew_sec if cycle.talk.time else None),
    ),
    Metric(
        "barfeed_stored_bars", "gauge", "Bars in the store.",
        lambda cycle: _told(cycle.record.measured.stored_bars),
    ),
    Metric(
        "barfeed_store_size_bytes", "gauge", "The size of the DuckDB file.", lambda cycle: _told(cycle.store_bytes)
    ),
    Metric(
        "barfeed_step_duration_seconds", "histogram",
        f"How long each step of a cycle took: {', '.join(get_args(Step))}.",
        lambda cycle: cycle.record.durations_sec, "step",
    ),
    Metric(
        "barfeed_series", "gauge", "Over a market: how many series ended so in the last pass, as the manifest has it.",
        _ended, "status", of_many=True,
    ),
    Metric(
        "barfeed_windows", "gauge", "Over a market: how many windows the last pass gave to the models.",
        lambda cycle: _told(cycle.record.measured.windows), of_many=True,
    ),
    Metric(
        "barfeed_series_behind", "gauge",
        "Over a market: how many series are without the bar that the last pass was for, or five minutes behind.",
        _nothing, of_many=True,
    ),
    Metric(
        "barfeed_series_lag_seconds", "gauge",
        f"The lag of each of these, by its symbol: of the {NAMED_MAX} worst at most; no other series has a sample.",
        _nothing, "series", of_many=True,
    ),
    Metric(
        "barfeed_stream_connected", "gauge",
        "1 while a connection to the stream is open, else 0; with --stream only, as all that begin so.",
        _nothing, follow=lambda followed: followed.is_connected,
    ),
    Metric(
        "barfeed_stream_frame_age_seconds", "gauge",
        "How long ago the stream's last frame came; before the first, how long one is waited for.",
        _nothing, follow=lambda followed: followed.frame_age_sec,
    ),
    Metric(
        "barfeed_stream_connections_total", "counter", "Connections to the stream that were opened.",
        _nothing, follow=lambda followed: followed.connections,
    ),
    Metric(
        "barfeed_stream_frames_total", "counter", "Frames of the series that came.",
        _nothing, follow=lambda followed: followed.frames,
    ),
    Metric(
        "barfeed_stream_closes_total", "counter", "Closing frames among them.",
        _nothing, follow=lambda followed: followed.closes,
    ),
    Metric(
        "barfeed_stream_ignored_total", "counter", "Messages of the stream that were no frame of the series.",
        _nothing, follow=lambda followed: followed.ignored,
    ),
    Metric(
        "barfeed_stream_silences_total", "counter", "Connections to the stream that were given up for their silence.",
        _nothing, follow=lambda followed: followed.silences,
    ),
)  # fmt: skip

# The end of year 9999, the last that a date can have.
_MOMENT_SEC_MAX = 253_402_300_799

_LAG = Sample("barfeed_lag_seconds")
_SERIES_LAG = "barfeed_series_lag_seconds"
_NEWEST = Sample("barfeed_newest_bar_timestamp_seconds")


def labels(series: Series) -> dict[str, str]:
    """The labels of every sample."""
    return {"symbol": series.symbol, "interval": str(series.interval)}


def before_any() -> dict[Sample, float]:
    """What the metrics say before the first cycle."""
    return {_sample(metric, value): number for metric in METRICS for value, number in metric.begins.items()}


def after(samples: Samples, cycle: Cycle) -> dict[Sample, float]:
    """What the metrics say once a cycle has ended, `samples` being what they said before."""
    now = dict(samples)
    for metric in METRICS:
        for value, number in metric.read(cycle).items():
            for sample, amount in _filed(metric, value, number):
                now[sample] = amount if metric.kind == "gauge" else now.get(sample, 0.0) + amount
    return now


def continued(found: Mapping[str, Samples]) -> dict[Sample, float]:
    """What the metrics say where another process left off; a metric that this version would write otherwise is anew."""
    now = before_any()
    for metric in METRICS:
        samples = found.get(metric.name, {})
        if _is_ours(metric, samples):
            now |= samples
    return now


def newest_ms(samples: Samples) -> int | None:
    """The open_time of the newest stored bar, as far as any cycle has seen one."""
    return round(samples[_NEWEST] * 1000) if _NEWEST in samples else None


def families(
    samples: Samples,
    series: Series,
    now_ms: int,
    followed: Followed | None = None,
    newest_of: Mapping[str, Newest] | None = None,
) -> Iterator[Family]:
    """Everything that can be said at `now_ms` by the exchange's clock, and of the stream where one is followed.

    `newest_of` tells of each series of a market, None where there is only one.
    """
    lag = lag_ms(series, newest_ms(samples), now_ms)
    samples = samples if lag is None else {**samples, _LAG: lag / 1000}
    samples = samples if newest_of is None else {**samples, **_of_many(newest_of, series.interval, now_ms)}
    for metric in METRICS:
        if metric.of_many and newest_of is None:
            continue
        names = _names(metric)
        own = {sample: value for sample, value in samples.items() if sample.name in names}
        if metric.follow:
            # Never on top of an earlier process's: of what that one told last, a kill leaves less in the file, and a
            # counter that goes back a little is a great increase to Prometheus.
            own = {Sample(metric.name): metric.follow(followed)} if followed else {}
        yield Family(metric.name, metric.kind, metric.says, own)


def _of_many(newest_of: Mapping[str, Newest], interval: Interval, now_ms: int) -> dict[Sample, float]:
    behind = lagging(newest_of, interval, now_ms)
    told = [each for each in behind if each.lag_ms is not None][:NAMED_MAX]
    lags = {Sample(_SERIES_LAG, (("series", each.symbol),)): (each.lag_ms or 0) / 1000 for each in told}
    return {Sample("barfeed_series_behind"): float(len(behind)), **lags}


def _sample(metric: Metric, value: str) -> Sample:
    return Sample(metric.name, ((metric.label, value),) if metric.label else ())


def _filed(metric: Metric, value: str, number: float) -> Iterator[tuple[Sample, float]]:
    plain = _sample(metric, value)
    if metric.kind != "histogram":
        yield plain, number
        return
    for edge in BUCKETS_SEC:
        yield (
            Sample(f"{metric.name}_bucket", tuple(sorted((*plain.labels, ("le", _edge(edge)))))),
            float(number <= edge),
        )
    yield Sample(f"{metric.name}_sum", plain.labels), number
    yield Sample(f"{metric.name}_count", plain.labels), 1.0


def _edge(sec: float) -> str:
    return "+Inf" if math.isinf(sec) else str(sec)


def _names(metric: Metric) -> set[str]:
    return {sample.name for sample, _ in _filed(metric, "", 0.0)}


def _is_ours(metric: Metric, samples: Samples) -> bool:
    # A gauge that tells by its label, as the version does, would go on telling what was.
    if metric.kind == "gauge" and metric.label:
        return False
    values = {dict(sample.labels).get(metric.label, "") for sample in samples}
    # Of what is no moment nobody could say how long ago it was.
    if metric.name == _NEWEST.name and not all(0 <= each <= _MOMENT_SEC_MAX for each in samples.values()):
        return False
    expected = {sample for value in values for sample, _ in _filed(metric, value, 0.0)}
    return expected == set(samples) and all(math.isfinite(each) for each in samples.values())

"""Prometheus's text format, written and read back. The one home of its client library."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Kind = Literal["counter", "gauge", "histogram"]

# The format that every collector of text files reads, too.
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Sample(NamedTuple):
    """One line's name and labels."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()


class Family(NamedTuple):
    """A metric and what it says now."""

    name: str
    kind: Kind
    says: str
    samples: Mapping[Sample, float]


def text(feeds: Iterable[tuple[Iterable[Family], Mapping[str, str]]]) -> bytes:
    """The families of each feed in Prometheus's text format; every sample has its feed's labels besides its own."""
    return generate_latest(_Families(feeds))


class NotMetrics(ValueError):
    """A text that is not in Prometheus's format."""


def read(text: str, labels: Mapping[str, str]) -> dict[str, dict[Sample, float]]:
    """The samples with these labels, without them, by the family that `text` wrote them under.

    Raises `NotMetrics`.
    """
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, IndexError, KeyError) as problem:
        raise NotMetrics(f"{type(problem).__name__}: {problem}") from problem
    return {_full_name(each.name, each.type): dict(_ours(each, labels)) for each in families}


class _Families(Collector):
    """What the library asks for its metrics; it belongs to no registry of the whole process."""

    def __init__(self, feeds: Iterable[tuple[Iterable[Family], Mapping[str, str]]]) -> None:
        self._feeds = feeds

    def collect(self) -> Iterator[Metric]:
        # A metric stands there once, with what all feeds say of it.
        metrics: dict[str, Metric] = {}
        for families, labels in self._feeds:
            for family in families:
                told = Metric(family.name.removesuffix("_total"), family.says, family.kind)
                metric = metrics.setdefault(family.name, told)
                for sample, value in family.samples.items():
                    metric.add_sample(sample.name, {**labels, **dict(sample.labels)}, value)
        return iter(metrics.values())


def _full_name(name: str, kind: str) -> str:
    # The library takes this ending off a counter's name.
    return f"{name}_total" if kind == "counter" else name


def _ours(family: Metric, labels: Mapping[str, str]) -> Iterator[tuple[Sample, float]]:
    for each in family.samples:
        if labels.items() <= each.labels.items():
            own = tuple(sorted((name, value) for name, value in each.labels.items() if name not in labels))
            yield Sample(each.name, own), each.value

"""The views as JSON under /api/, and the page of what there is, made from the same table."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from barfeed import __version__
from barfeed.domain.bars import Series
from barfeed.domain.errors import UsageError
from barfeed.operate.web import answers
from barfeed.operate.web.views import beside, calendar, chart, market, now, runs
from barfeed.operate.web.views.sources import Sources


class OfSeries(msgspec.Struct):
    """A series, and the span between two moments in ms; all that is stored where none is given."""

    symbol: str
    interval: str = "1h"
    first_ms: int | None = None
    last_ms: int | None = None


class OfChart(OfSeries):
    """A series, a span, and how many steps a chart can draw."""

    points: int = 2000


class OfRuns(msgspec.Struct):
    """The runs of a UTC day by its first ms, or the newest before a moment; of one series where a symbol is given."""

    day_ms: int | None = None
    before_ms: int | None = None
    symbol: str = ""
    interval: str = "1h"
    count: int = 100


class OfRun(msgspec.Struct):
    """A run by its feed's folder and its name."""

    folder: str
    run: str


class OfFile(OfRun):
    """A file of a run."""

    file: str


class Nothing(msgspec.Struct):
    """No question."""


class View(NamedTuple):
    """One address: what it takes, what it answers, and how."""

    path: str
    question: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    says: str
    ask: Callable[[Sources, Any], msgspec.Struct]


_ALWAYS_MS = (-(2**53), 2**53)


def _series(sources: Sources, it: OfSeries | OfRuns) -> Series:
    return sources.series(it.symbol, it.interval)


def _span(it: OfSeries) -> tuple[int, int]:
    first_ms, last_ms = _ALWAYS_MS
    return first_ms if it.first_ms is None else it.first_ms, last_ms if it.last_ms is None else it.last_ms


def _runs(sources: Sources, it: OfRuns) -> answers.RunList:
    series = _series(sources, it) if it.symbol else None
    if it.day_ms is not None:
        return runs.of_day(sources, it.day_ms, series)
    return runs.newest(sources, it.before_ms, series, it.count)


VIEWS = (
    View("now", Nothing, answers.Now, "The exchange's clock, the newest run, who feeds, the log's last line.",
         lambda sources, _: now.now(sources)),
    View("market", Nothing, answers.Market, "Every series that is stored, worst first.",
         lambda sources, _: market.market(sources)),
    View("candles", OfChart, answers.Candles,
         f"Bars in the finest steps that `points`, at most {chart.POINTS_MAX}, allow.",
         lambda sources, it: chart.candles(sources, _series(sources, it), (it.first_ms, it.last_ms), it.points)),
    View("beside", OfChart, answers.Beside, "Funding and open interest, where they are fed, in the steps of `candles`.",
         lambda sources, it: beside.beside(sources, _series(sources, it), (it.first_ms, it.last_ms), it.points)),
    View("marks", OfSeries, answers.Marks, "Gaps, revisions, refused hours and predictions of a span.",
         lambda sources, it: chart.marks(sources, _series(sources, it), *_span(it))),
    View("calendar", OfSeries, answers.Calendar, "What is true of each day.",
         lambda sources, it: calendar.calendar(sources, _series(sources, it), *_span(it))),
    View("runs", OfRuns, answers.RunList, f"Runs, newest first, at most {runs.RUNS_MAX}.",
         _runs),
    View("run", OfRun, answers.Detail, "A run with its manifest and files.",
         lambda sources, it: runs.detail(sources, it.folder, it.run)),
    View("check", OfFile, answers.Check, "The sha256 of a run's file, read now, beside what its manifest tells.",
         lambda sources, it: runs.check(sources, it.folder, it.run, it.file)),
)  # fmt: skip


def asked(view: View, query: dict[str, str]) -> msgspec.Struct:
    """The question in a request's query; `UsageError` names the part that is not one."""
    names = {field.name: field for field in msgspec.structs.fields(view.question)}
    for name in query:
        if name not in names:
            raise UsageError(f"/api/{view.path} knows no {name[:40]!r}, expected {', '.join(names) or 'nothing'}")
    for name, field in names.items():
        if field.required and name not in query:
            raise UsageError(f"/api/{view.path} needs {name!r}")
        _convert(view, name, field.type, query)
    return msgspec.convert(query, view.question, strict=False)


def _convert(view: View, name: str, type_: Any, query: dict[str, str]) -> None:
    if name not in query:
        return
    try:
        msgspec.convert(query[name], type_, strict=False)
    except msgspec.ValidationError:
        said = f"/api/{view.path}: {name} is {query[name][:40]!r}, expected a whole number"
        raise UsageError(said) from None


def openapi() -> dict[str, Any]:
    """The same table as an OpenAPI 3.1 document."""
    answered = [view.answer for view in VIEWS]
    _, schemas = msgspec.json.schema_components(answered, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": "barfeed", "version": __version__, "description": (answers.__doc__ or "").strip()},
        "paths": {f"/api/{view.path}": {"get": _operation(view)} for view in VIEWS},
        "components": {"schemas": schemas},
    }


def _operation(view: View) -> dict[str, Any]:
    _, described = msgspec.json.schema_components([view.question])
    properties = described[view.question.__name__]["properties"]
    required = {field.name for field in msgspec.structs.fields(view.question) if field.required}
    answer = {"schema": {"$ref": f"#/components/schemas/{view.answer.__name__}"}}
    return {
        "operationId": view.path,
        "summary": view.says,
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": type_}
            for name, type_ in properties.items()
        ],
        "responses": {
            "200": {"description": view.says, "content": {"application/json": answer}},
            "400": {"description": "The question is none: what, which, seen, expected."},
            "404": {"description": "What was asked for is not there."},
            "503": {"description": "The store cannot be had: why, and what helps."},
        },
    }

"""The two pictures of a run: which features the trees used, and what was predicted against what came."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lgbm_inference.bars import Floats, Ints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEATURES_SHOWN = 25
_INK, _GREY, _PALE, _PREDICTED = "#2b2f36", "#6b7280", "#b8bec9", "#d1495b"
_COLOURS = {"1H": "#8fb8de", "4H": "#4a8fc7", "12H": "#1f5f99", "1D": "#0b2f55", "beside": "#d98e04"}


def importance(shares: Mapping[str, float]) -> bytes:
    """The features that gained most, coloured by timeframe; a PNG."""
    used = sorted(((share, name) for name, share in shares.items() if share > 0), reverse=True)
    shown = used[:_FEATURES_SHOWN][::-1]
    figure = _figure(8.5, 1.6 + 0.27 * max(len(shown), 4))
    axes = figure.subplots()
    names = [name for _, name in shown]
    axes.barh(names, [100 * share for share, _ in shown], color=[_colour(name) for name in names], height=0.72)
    _title(axes, "What the trees used", f"{len(shown)} of {len(used)} features with any gain, of {len(shares)} given")
    axes.set_xlabel("share of all gain, %")
    axes.margins(y=0.01)
    axes.grid(axis="x", color=_PALE, linewidth=0.5, alpha=0.6)
    _legend_of_timeframes(axes, {_timeframe(name) for name in names})
    return _png(figure)


def predicted(hours: Ints, said: Floats, actual: Floats, horizon_hours: int) -> bytes:
    """The test part over time, and each hour's prediction against what came; a PNG."""
    figure = _figure(13, 5.2)
    over_time, against = figure.subplots(1, 2, width_ratios=[1.9, 1])
    _over_time(over_time, hours, 100 * said, 100 * actual, horizon_hours)
    _against(against, 100 * said, 100 * actual)
    return _png(figure)


def _over_time(axes: "Axes", hours: Ints, said: Floats, actual: Floats, horizon_hours: int) -> None:
    moments = hours.astype("datetime64[h]")
    axes.plot(moments, actual, color=_PALE, linewidth=1, label="actual")
    axes.plot(moments, said, color=_PREDICTED, linewidth=1.2, label="predicted")
    axes.axhline(0, color=_INK, linewidth=0.6)
    _title(axes, "Predicted and actual over the test part", f"log return over the next {horizon_hours} hours")
    axes.set_ylabel("log return, %")
    axes.margins(x=0.01)
    axes.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    _dates(axes)


def _against(axes: "Axes", said: Floats, actual: Floats) -> None:
    axes.scatter(said, actual, s=5, color=_COLOURS["4H"], alpha=0.18, linewidths=0, rasterized=True)
    low, high = np.min(said), np.max(said)
    axes.plot([low, high], [low, high], color=_PREDICTED, linewidth=1.2, label="had it been right")
    axes.axhline(0, color=_INK, linewidth=0.6)
    axes.axvline(0, color=_INK, linewidth=0.6)
    _title(axes, "Each hour of it", f"{len(said):,} hours, neighbours overlap")
    axes.set_xlabel("predicted log return, %")
    axes.set_ylabel("actual log return, %")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _figure(width: float, height: float) -> "Figure":
    # Imported here: half a second that inference never pays. No pyplot: no window, no global state.
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    return figure


def _title(axes: "Axes", title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", pad=22, fontsize=12, fontweight="bold", color=_INK)
    # In points above the axes: a share of their height would move with it.
    place: dict[str, Any] = {"xycoords": "axes fraction", "xytext": (0, 8), "textcoords": "offset points"}
    axes.annotate(subtitle, (0, 1), fontsize=9, color=_GREY, **place)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5, colors=_INK)


def _dates(axes: "Axes") -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415

    locator = AutoDateLocator()  # type: ignore[no-untyped-call] # matplotlib leaves it untyped
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _legend_of_timeframes(axes: "Axes", used: set[str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415

    patches = [Patch(color=colour, label=timeframe) for timeframe, colour in _COLOURS.items() if timeframe in used]
    axes.legend(handles=patches, frameon=False, fontsize=9, loc="lower right")


def _timeframe(feature: str) -> str:
    """The timeframe that it is of, or that it stands beside the bars."""
    last = feature.rpartition("_")[2]
    return last if last in _COLOURS else "beside"


def _colour(feature: str) -> str:
    return _COLOURS[_timeframe(feature)]


def _png(figure: "Figure") -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()

"""barfeed: closed, proven 1h bars of Binance USDT-M Futures for a trading model.

`barfeed.open` reads what is stored; what it needs is imported once it is asked for.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from barfeed.domain.errors import BarfeedError, LakeUnusable, StoreEmpty, StoreUnusable, UsageError, WindowGap
    from barfeed.history.reading.reader import Reader
    from barfeed.history.reading.reader import open_reader as open  # noqa: A004 - as everybody calls it
    from barfeed.history.reading.table import Table

__version__ = "0.1.0"
__all__ = [
    "BarfeedError",
    "LakeUnusable",
    "Reader",
    "StoreEmpty",
    "StoreUnusable",
    "Table",
    "UsageError",
    "WindowGap",
    "open",
]

_HOMES = {
    **dict.fromkeys(
        ["BarfeedError", "LakeUnusable", "StoreEmpty", "StoreUnusable", "UsageError", "WindowGap"], "domain.errors"
    ),
    "Reader": "history.reading.reader",
    "Table": "history.reading.table",
    "open": "history.reading.reader",
}
_ELSEWHERE = {"open": "open_reader"}


if not TYPE_CHECKING:
    # Whoever checks types would take any name for one of these.
    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'barfeed' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - the hourly command goes by without it

        return getattr(import_module(f"barfeed.{_HOMES[name]}"), _ELSEWHERE.get(name, name))

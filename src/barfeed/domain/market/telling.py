"""What there is to say of many series: worst first, and what is the same of many said once. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

_NAMED = 5
# Whose move it is next weighs more than how many it concerns: what needs somebody comes first.
_WORST_FIRST = (70, 4, 2, 1, 5, 3)


class Word(NamedTuple):
    """What is said of one series, and what helps."""

    symbol: str
    message: str
    hint: str = ""


def rank(exit_code: int) -> int:
    """How bad an exit code is: 0 the worst there is."""
    return _WORST_FIRST.index(exit_code) if exit_code in _WORST_FIRST else len(_WORST_FIRST)


def said_once(words: Iterable[Word]) -> list[tuple[str, str]]:
    """Message and hint, each once however many series it is of, in the order they come."""
    symbols: dict[tuple[str, str], list[str]] = {}
    for symbol, message, hint in words:
        symbols.setdefault((message, hint), []).append(symbol)
    return [(of_all(each, message), hint) for (message, hint), each in symbols.items()]


def of_all(symbols: Sequence[str], message: str) -> str:
    """The message with whom it is about: the one, or how many and the first of them."""
    if len(symbols) == 1:
        # The error of a request does not say for which series it was.
        return message if symbols[0] in message else f"{symbols[0]}: {message}"
    return f"{len(symbols)} series ({named(symbols)}): {message}"


def named(symbols: Sequence[str]) -> str:
    """The first of them by name."""
    return ", ".join(symbols[:_NAMED]) + (", ..." if len(symbols) > _NAMED else "")

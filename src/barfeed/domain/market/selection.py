"""Which symbols are fed together: some by name, some by pattern, of what the exchange lists. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.life import Listing

EVERYTHING = "all"
# Who looks for the first alone loses a quarter of the market.
_PERPETUAL = frozenset({"PERPETUAL", "TRADIFI_PERPETUAL"})
# A delivery has its day in its name; by that it is known when the list tells of it no more.
_DELIVERY = re.compile(r".+_\d{6}", re.ASCII)
_WILDCARDS = frozenset("*?")
_NO_WILDCARDS = str.maketrans("*?", "aa")
_EXPECTED = "all, or names and patterns: BTCUSDT,*USDC,!DOGE*"


class Selection(NamedTuple):
    """Which symbols of the exchange's list are meant: some by name, some by pattern, without those left out.

    A pattern means perpetuals that trade; a name means that symbol, whatever it is.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    without: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> "Selection":
        """Read `BTCUSDT,ETHUSDT`, `all` or `*USDT,!BUSD*`; `UsageError` says what cannot be one."""
        words = [word.strip() for word in text.split(",")]
        wanted = [_pattern(word) for word in words if word and not word.startswith("!")]
        without = tuple(_pattern(word[1:]) for word in words if word.startswith("!"))
        names = tuple(dict.fromkeys(word for word in wanted if not _is_pattern(word)))
        patterns = tuple(dict.fromkeys(word for word in wanted if _is_pattern(word)))
        if not wanted:
            raise UsageError(f"--symbols {text[:60]!r} names no symbol", hint=_EXPECTED)
        return cls(names, patterns, without)

    def of_list(self, listed: Mapping[str, Listing]) -> list[str]:
        """Those that are meant, sorted; a name is one though the exchange does not list it."""
        trading = [name for name, each in listed.items() if is_trading_perpetual(each)]
        meant = {*self.names, *(name for name in trading if self._is_meant(name))}
        return sorted(name for name in meant if not _matches(name, self.without))

    def expect_any(self, listed: Mapping[str, Listing], stored: Iterable[str]) -> None:
        """Raise `UsageError` where it means nothing, neither listed nor stored: no hour would be a bad one."""
        # What is stored first: where something is fed already, the first of it answers, each hour.
        if not any(map(self.includes, stored)) and not self.of_list(listed):
            trading = sum(map(is_trading_perpetual, listed.values()))
            raise UsageError(
                f"--symbols {str(self)[:60]!r} fits none of the {trading} perpetuals that trade", hint=_EXPECTED
            )

    def includes(self, symbol: str) -> bool:
        """Whether it is meant while it trades."""
        return (symbol in self.names or self._is_meant(symbol)) and not _matches(symbol, self.without)

    def _is_meant(self, symbol: str) -> bool:
        return _matches(symbol, self.patterns) and not _DELIVERY.fullmatch(symbol)

    def __str__(self) -> str:
        words = [*self.names, *(EVERYTHING if each == "*" else each for each in self.patterns)]
        return ",".join([*words, *(f"!{each}" for each in self.without)])


def _pattern(word: str) -> str:
    if word.lower() == EVERYTHING:
        return "*"
    # What is no part of a symbol is a slip of the pen, and would silently mean nothing.
    if not word.translate(_NO_WILDCARDS).replace("_", "a").isalnum():
        raise UsageError(
            f"--symbols: {word[:60]!r} is no symbol and no pattern, expected like BTCUSDT, *USDC or !DOGE*"
        )
    return word.upper() if _is_pattern(word) else Series.of(word, str(Interval.ONE_HOUR)).symbol


def _is_pattern(word: str) -> bool:
    return not _WILDCARDS.isdisjoint(word)


def _matches(symbol: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(symbol, each) for each in patterns)


def is_trading_perpetual(listing: Listing) -> bool:
    """Whether it is one of those that `all` means."""
    return listing.status == "TRADING" and listing.contract_type in _PERPETUAL

"""What a name says of the bars behind it: one rule for the replay exchange's files and for users' own. Pure."""

import re
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series

_MINUTES = {"m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}
_LENGTH = re.compile(r"(?P<number>[1-9]\d{0,3})(?P<unit>M|mo|[smhdw]|min|[HDW])")
# How CryptoDataDownload and others write it.
_WORDS = {"minute": "1m", "hour": "1h", "hourly": "1h", "day": "1d", "daily": "1d", "d": "1d"}

# `BTCUSDT-1m-2023-07.parquet` of the archive, `BTC_USDT_USDT-1h-futures.feather` of freqtrade.
_ARCHIVED = re.compile(r"(?P<symbol>[^-]+)-(?P<interval>[^-.]+)([-.].*)?", re.DOTALL)
# `ohlcv_btcusdt_1h`, the store's own.
_TABLE = re.compile(r"ohlcv_(?P<symbol>.+)_(?P<interval>[^_.]+)(\..*)?", re.DOTALL)
# `BINANCE_BTCUSDT.P, 60.csv` of TradingView, and our own label as a folder has it.
_CHART = re.compile(r"(?P<symbol>[^\W_]+)(?:\.P_|(?:\.P)?, )(?P<interval>\d+|\d*[DWMS])(?![^\W_])")
_QUOTES = "FDUSD|TUSD|USDT|USDC|BUSD|USD"
# `Binance_ETHUSDT_1h.csv`, `ETH-USDT.csv`; a delivery's six digits are its date.
_SYMBOL = re.compile(
    rf"(?<![^\W_])(?P<base>[^\W_]+?)[-_]?(?P<quote>{_QUOTES})"
    r"(?P<delivery>_\d\d(?:0[1-9]|1[0-2])[0-3]\d)?(?![^\W_])",
    re.IGNORECASE,
)
_PAIR = re.compile(rf"(?P<base>[^\W_]+)_(?P<quote>{_QUOTES})(_(?P=quote))?", re.IGNORECASE)
# Freqtrade's files of other things than trades have the same columns.
_OTHER_PRICES = re.compile(r"-(?P<kind>mark|index|premiumIndex|funding_rate)(?=\.|$)")


class Named(NamedTuple):
    """What a name says: a symbol, an interval as the exchange writes it, other prices; "" where it says none."""

    symbol: str = ""
    interval: str = ""
    kind: str = ""

    @property
    def series(self) -> Series | None:
        """The series, where a name says one that can be fed."""
        is_fed = self.symbol and self.interval in map(str, Interval)
        return Series.of(self.symbol, self.interval) if is_fed else None


def named(name: str) -> Named:
    """What a file's name, or a table's, says; a word that is no symbol and no interval says nothing."""
    kind = _OTHER_PRICES.search(name)
    for form in (_TABLE, _ARCHIVED):
        said = form.fullmatch(name)
        if said and (interval := _interval(said["interval"])):
            return Named(_symbol(said["symbol"]), interval, kind["kind"] if kind else "")
    return _in_words(name)._replace(kind=kind["kind"] if kind else "")


def named_table(name: str) -> Series | None:
    """The series of a store's table, None for any other table."""
    return named(name).series if _TABLE.fullmatch(name) else None


def contradiction(name: str, series: Series) -> str:
    """What a name says that the series is not, `ETHUSDT 4h`; "" where it says nothing else."""
    said = named(name)
    others = [
        said.symbol if said.symbol.upper() != series.symbol else "",
        said.interval if said.interval != str(series.interval) else "",
        said.kind,
    ]
    return " ".join(each for each in others if each)


def is_other_symbol(text: str, series: Series) -> bool:
    """Whether a cell tells another symbol, however exchanges and libraries write it: `BTC/USDT:USDT`."""
    # `BINANCE:BTCUSDT.P` is TradingView's.
    bare = text.strip().upper().removesuffix(".P").removesuffix(":USDT").removesuffix(":USDC").rpartition(":")[2]
    return _joined(bare) != _joined(series.symbol)


def is_other_interval(text: str, series: Series) -> bool:
    """Whether a cell tells another interval; what is no length of time tells none."""
    said = _interval(text.strip()) or _WORDS.get(text.strip().lower(), "")
    return bool(said) and said != str(series.interval)


def _in_words(name: str) -> Named:
    """What a free name says, where its words say one thing."""
    if chart := _CHART.search(name):
        length = chart["interval"]
        interval = _interval(f"{length}m" if length.isdigit() else length if length[:1].isdigit() else f"1{length}")
        return Named(chart["symbol"].upper(), interval)
    symbols = {f"{each['base']}{each['quote']}{each['delivery'] or ''}".upper() for each in _SYMBOL.finditer(name)}
    # Beside a symbol only: `day.csv` is no interval's.
    known = _WORDS if symbols else {}
    intervals = {said for word in re.findall(r"[^\W_]+", name) if (said := _interval(word) or known.get(word, ""))}
    return Named(_only(symbols), _only(intervals))


def _only(said: set[str]) -> str:
    return next(iter(said)) if len(said) == 1 else ""


def _symbol(text: str) -> str:
    """`BTC_USDT_USDT` is BTCUSDT; `BTCUSDT_240329` is what it is."""
    pair = _PAIR.fullmatch(text)
    return (pair["base"] + pair["quote"] if pair else text).upper()


def _interval(text: str) -> str:
    """`60m` and `1H` are 1h; "" for what is no length of time. `1M` is a month."""
    said = _LENGTH.fullmatch(text)
    if not said:
        return ""
    unit = said["unit"] if said["unit"] in {"M", "mo"} else said["unit"][0].lower()
    if unit not in _MINUTES or unit == "w":
        return f"{said['number']}{unit}"
    return _shortest(int(said["number"]) * _MINUTES[unit])


def _shortest(minutes: int) -> str:
    unit = next(unit for unit in "dhm" if minutes % _MINUTES[unit] == 0)
    return f"{minutes // _MINUTES[unit]}{unit}"


def _joined(symbol: str) -> str:
    return re.sub(r"[\W_]", "", symbol)

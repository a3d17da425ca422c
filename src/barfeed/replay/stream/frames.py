"""A kline as the stream tells it: the very row that REST would give, in the stream's own JSON."""

import json

from barfeed.domain.bars import Series
from barfeed.replay.tapes.rows import cells

# The frame's names for a row's cells, in the row's order.
_NAMES = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")


def name(series: Series) -> str:
    """The stream's name, `btcusdt@kline_1h`."""
    return f"{series.symbol.lower()}@kline_{series.interval}"


def frame(series: Series, row: str, event_ms: int, *, closed: bool) -> str:
    """One frame, sent at `event_ms`; `closed` marks the bar's last."""
    cell = dict(zip(_NAMES, cells(row), strict=True))
    first, last = _trades(int(cell["t"]), int(cell["n"]))
    return (
        f'{{"e":"kline","E":{event_ms},"s":"{series.symbol}","k":{{"t":{cell["t"]},"T":{cell["T"]},'
        f'"s":"{series.symbol}","i":"{series.interval}","f":{first},"L":{last},"o":{cell["o"]},"c":{cell["c"]},'
        f'"h":{cell["h"]},"l":{cell["l"]},"v":{cell["v"]},"n":{cell["n"]},"x":{json.dumps(closed)},'
        f'"q":{cell["q"]},"V":{cell["V"]},"Q":{cell["Q"]},"B":{cell["B"]}}}}}'
    )


def combined(stream: str, frame: str) -> str:
    """The frame as a connection gets it that was opened for several streams."""
    return f'{{"stream":"{stream}","data":{frame}}}'


def _trades(open_time_ms: int, trades: int) -> tuple[int, int]:
    """Identities of the first and the last trade: they ascend from bar to bar, and are -1 where nothing is traded."""
    return (open_time_ms, open_time_ms + trades - 1) if trades else (-1, -1)

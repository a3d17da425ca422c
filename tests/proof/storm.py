"""Weather for the soak: every REST fault that the replay exchange knows, drawn by a seed, and what each may end in."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.faults.script import KINDS
from world import written

ANY_PATH = ("klines", "time", "*")

STATUSES = (202, 400, 401, 403, 404, 408, 418, 429, 451, 500, 502, 503, 504)

# What can strike, as TOML; {bar} is one of the newest bars, {path} one of `ANY_PATH`.
FAULTS: Mapping[str, Sequence[str]] = {
    "late": ("sec = 45", "sec = 45\nrows = 3", "sec = 3599\nrows = 2"),
    "revise": ("bar = {bar}\nvolume = 0.5", "bar = {bar}\nlow = 1.0\nvolume = 77.25"),
    "hide": ("bar = {bar}",),
    "flat": ("bar = {bar}\nuntil_bar = {bar}",),
    "pending": ("at = {bar}",),
    "halt": ("at = {bar}",),
    "settle": ("at = {bar}", "at = {bar}\nuntil_bar = {bar}"),
    "delist": ("at = {bar}", "at = {bar}\nrefusal = -4141"),
    "duplicate": ("", "bar = {bar}"),
    "disorder": ("", "bar = {bar}"),
    "off_grid": ("ms = 1", "ms = 1695000\nbar = {bar}", "ms = 3600000"),
    "forming": ("",),
    "text": (
        "column = 1\nvalue = '\"NaN\"'\nbar = {bar}",
        "column = 2\nvalue = '\"1e999\"'",
        "column = 4\nvalue = '43000.5'",
        "column = 0\nvalue = 'null'\nbar = {bar}",
        "column = 5\nvalue = '\"-1.0\"'\nbar = {bar}",
        "column = 3\nvalue = '\"9e9\"'",
        "column = 6\nvalue = '1707562799998'",
    ),
    "missing_field": ("column = 8", "column = 11\nbar = {bar}"),
    "empty": ('path = "{path}"',),
    "object": ('path = "{path}"',),
    "html": ('path = "{path}"',),
    "cut_json": ('path = "{path}"',),
    "status": (
        *(f'status = {status}\npath = "{{path}}"' for status in STATUSES),
        "status = 429\nretry_after = 20",
        "status = 418\nretry_after = 900",
    ),
    "redirect": ('to = "https://elsewhere.example/"\npath = "{path}"',),
    "header_case": ('case = "upper"\npath = "*"', 'case = "lower"\npath = "*"'),
    "truncate": ('path = "{path}"',),
    "reset": ('path = "{path}"',),
    "hang": ('sec = 4\npath = "{path}"', 'sec = 3600\npath = "{path}"'),
    "drip": ('bytes_per_sec = 1\npath = "{path}"', 'bytes_per_sec = 400\npath = "{path}"'),
    "skew": tuple(
        f"ms = {ms}" for ms in (-7_200_000, -3_590_000, -600_000, -4_000, 4_000, 600_000, 3_590_000, 86_400_000)
    ),
    "stale_time": ("sec = 20", "sec = 600", "sec = 7200"),
}

# How an hour may fail under each, from the documents: everything else is a finding of the soak.
MAY_END: Mapping[str, frozenset[str]] = {
    "late": frozenset({"bar_late"}),
    "revise": frozenset({"mismatch"}),
    "hide": frozenset({"bar_late", "contract_broken"}),
    "flat": frozenset({"mismatch"}),
    "pending": frozenset({"mismatch", "contract_broken"}),
    "halt": frozenset({"symbol_not_trading", "contract_broken", "bar_late"}),
    "settle": frozenset({"symbol_gone", "mismatch", "bar_late"}),
    "delist": frozenset({"symbol_gone", "exchange_refused"}),
    **dict.fromkeys(
        ("duplicate", "disorder", "off_grid", "forming", "text", "missing_field"), frozenset({"contract_broken"})
    ),
    "empty": frozenset({"bar_late", "contract_broken"}),
    "object": frozenset({"contract_broken"}),
    **dict.fromkeys(("html", "cut_json", "truncate", "reset", "hang", "drip"), frozenset({"exchange_unavailable"})),
    "status": frozenset({"exchange_unavailable", "exchange_blocked", "exchange_refused"}),
    "redirect": frozenset({"exchange_refused"}),
    "header_case": frozenset(),
    **dict.fromkeys(("skew", "stale_time"), frozenset({"bar_late", "contract_broken", "store_ahead"})),
}
# What a fault leaves behind for the hours after it.
MAY_FOLLOW = frozenset({"appended", "up_to_date", "revised", "missed_bars", "mismatch"})
EXITS: Mapping[str, int] = {
    **dict.fromkeys(("appended", "up_to_date", "revised"), 0),
    **dict.fromkeys(("missed_bars", "mismatch", "store_ahead"), 1),
    **dict.fromkeys(("bar_late", "symbol_not_trading", "exchange_unavailable", "exchange_blocked"), 3),
    **dict.fromkeys(("contract_broken", "exchange_refused", "symbol_gone"), 5),
}


class Climate(NamedTuple):
    """How often an hour has a fault, how many at once at most, and how many of them last for all of the hour."""

    name: str
    rate: float
    at_once: int
    lasting: float


REALISTIC = Climate("realistic", 0.03, 1, 0.2)
ABSURD = Climate("absurd", 0.7, 3, 0.5)


class Storm(NamedTuple):
    """The faults of one hour: their kinds, the TOML that says them, and of a market which symbol each is about."""

    kinds: tuple[str, ...]
    toml: str
    # "" for all of them.
    symbols: tuple[str, ...] = ()

    @property
    def may_end(self) -> frozenset[str]:
        """Every status that the hour may have."""
        return self.may_end_of("")

    def may_end_of(self, symbol: str) -> frozenset[str]:
        """Every status that this symbol may have: what is about another is none of its troubles."""
        about = self.symbols or ("",) * len(self.kinds)
        # A status may be said to the address, whatever it was asked about.
        own = [kind for kind, each in zip(self.kinds, about, strict=True) if each in {"", symbol} or kind == "status"]
        return MAY_FOLLOW.union(*(MAY_END[kind] for kind in own))


def draw(random: Random, climate: Climate, target_ms: int, symbols: Sequence[str] = ()) -> Storm:
    """The faults of the hour that closes `target_ms`; of a market's `symbols` many are about one."""
    if random.random() >= climate.rate:
        return Storm((), "")
    kinds = tuple(random.choice(sorted(FAULTS)) for _ in range(random.randint(1, climate.at_once)))
    texts = [_fault(random, climate, kind, target_ms) for kind in kinds]
    if not symbols:
        return Storm(kinds, "\n".join(texts))
    about = tuple(random.choice(["", *symbols]) if may_choose(*each) else "" for each in zip(kinds, texts, strict=True))
    chosen = [f'{text}symbol = "{symbol}"\n' if symbol else text for text, symbol in zip(texts, about, strict=True)]
    return Storm(kinds, "\n".join(chosen), about)


def may_choose(kind: str, text: str) -> bool:
    """Whether a fault, as TOML, can be about some symbols only: no other path than that of klines has one."""
    return "symbol" in KINDS[kind].scope and ("path = " not in text or 'path = "klines"' in text)


def _fault(random: Random, climate: Climate, kind: str, target_ms: int) -> str:
    bar = written(target_ms - random.randint(0, 6) * HOUR_MS)
    said = random.choice(FAULTS[kind]).format(bar=bar, path=random.choice(ANY_PATH))
    passing = "" if random.random() < climate.lasting else f'\nrequests = "1-{random.randint(1, 3)}"'
    return f'[[fault]]\nkind = "{kind}"\n{said}{passing}\n'

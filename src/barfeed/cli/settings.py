"""Every setting of the feed, defined once: flags, variables, file keys, help and docs follow from it.

A value comes from the flag, else from its `BARFEED_*` variable, else from the TOML file of `--config`,
else it is the default.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from barfeed.cli.values.addresses import check_address, is_binance, is_server
from barfeed.cli.values.paths import Lake, MeantLake, MeantPath, stray_ends
from barfeed.cli.values.stores import Database, MeantDatabase
from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.errors import UsageError

BASE_URL = "https://fapi.binance.com"
STREAM_URL = "wss://fstream.binance.com/market"
SPOT_URL = "https://api.binance.com"

# What stands before :// is told in messages, what follows is not.
_CHANNEL = r"[A-Za-z][A-Za-z0-9]{1,19}://\S+"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _setting(
    default: Any, says: str, *, at_least: float | None = None, at_most: float | None = None, secret: bool = False
) -> Any:
    metadata = {"says": says, "at_least": at_least, "at_most": at_most, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata)


# What dataclasses would write of fifty fields takes a hundredth of the hour to compile; and a repr may show a secret.
@dataclasses.dataclass(frozen=True, init=False, repr=False, eq=False)
class Settings:
    """What a user can set, with its default, its range and its meaning."""

    n_recent: int = _setting(6, "Closed bars to pull and validate with.", at_least=2, at_most=1500)
    duckdb: Path = _setting(Path("data/ohlcv.duckdb"), "The store, a DuckDB file.")
    store: Database = _setting(
        Database(""), "The store, a PostgreSQL database, as postgresql://feeder@db/market.  [instead of --duckdb]"
    )
    persist_dir: Path = _setting(Path("data/feed"), "Root of the artifacts.")
    dataset: str = _setting(
        "", "Label whose slug names the artifact folder.  [default: the series, as BINANCE_BTCUSDT.P, 60]"
    )
    buffer_hours: int = _setting(6, "Hours on top of 720 in the inference CSV.", at_least=0, at_most=8760)
    min_window_hours: int = _setting(
        0, "Do with so many hours where the exchange itself has no more; 0: never.", at_least=0, at_most=9480
    )
    inference_source: Literal["db", "api", "db,api"] = _setting(
        "db", "Where the inference CSV comes from; db,api: from the API where the store fails."
    )
    plain_decimals: bool = _setting(False, "Write 0.0000157066 for 1.57066e-05 in CSVs: no number has an exponent.")
    lake: Lake = _setting(Lake(""), "Keep the store as Parquet here, too: a folder, or s3://bucket/prefix.")
    watch: bool = _setting(False, "Run for ever, or one cycle.")
    sleep_sec: float = _setting(300.0, "Watch: longest sleep between looks.", at_least=0.05, at_most=3600)
    dry_run: bool = _setting(False, "Decide and report; leave the store as it is.")
    debug: bool = _setting(False, "Verbose log, tracebacks.")
    symbol: str = _setting("BTCUSDT", "The series' symbol.")
    interval: str = _setting("1h", "The series' interval.")
    symbols: str = _setting(
        "", "Feed many symbols in one pass: all, or names and patterns, as BTCUSDT,*USDC,!DOGE*.  [instead of --symbol]"
    )
    intervals: str = _setting("", "With --symbols: the intervals of each, as 1h,4h.  [default: --interval]")
    csv_for: str = _setting("", "With --symbols: write the inference CSVs of these symbols beside the table of all.")
    window_hours: int = _setting(
        0, "With --symbols: hours of each window; 0: 720 and --buffer-hours.", at_least=0, at_most=9480
    )
    weight_budget: int = _setting(
        0,
        "With --symbols: request weight a UTC minute; 0: half of what the exchange allows.",
        at_least=0,
        at_most=100000,
    )
    kinds: str = _setting(
        "",
        "Feed these kinds of series beside the bars, as klines,open_interest; klines: their other columns.",
    )
    catch_up: bool = _setting(False, "Append every missed bar; start an empty store.")
    base_url: str = _setting(BASE_URL, "The exchange.")
    spot_url: str = _setting(SPOT_URL, "The exchange's spot market, for spot_klines.")
    max_wait_sec: float = _setting(
        120.0, "Everything a cycle may wait for the exchange in total.", at_least=1, at_most=3000
    )
    settle_sec: float = _setting(10.0, "Do not pull earlier than this after the close.", at_least=0, at_most=600)
    max_skew_sec: float = _setting(5.0, "Warn when the machine's clock is further off.", at_least=0, at_most=1e10)
    lock_timeout_sec: float = _setting(
        30.0, "Wait for who has the store, or for a database that is away.", at_least=0, at_most=3000
    )
    then: str = _setting("", "Shell command to run after each published inference CSV.")
    then_timeout_sec: float = _setting(600.0, "How long that command may take.", at_least=1, at_most=3000)
    retain_days: int = _setting(
        0, "Once a day, fold the files of runs older than this into a zip a month; 0 keeps all.",
        at_least=0, at_most=36500,
    )  # fmt: skip
    on_mismatch: Literal["fail", "accept"] = _setting(
        "fail", "A stored bar of the window differs from the exchange's: fail, or accept what it says twice."
    )
    accept_within: float = _setting(
        0.001, "Accept: a price may differ by this part of the stored one.", at_least=0, at_most=1
    )
    accept_volume_within: float = _setting(
        0.2, "Accept: a volume may differ by this part of the stored one.", at_least=0, at_most=100
    )
    pause_sec: float = _setting(
        5.0, "Pause before the exchange is asked a second time about a mismatch.", at_least=0, at_most=600
    )
    json: bool = _setting(False, "Print the cycle's manifest as one line of JSON instead.")
    stream: bool = _setting(
        False, "Watch: start a cycle at the closing frame of the exchange's stream, if it comes before the clock."
    )
    stream_url: str = _setting(STREAM_URL, "The exchange's stream.")
    confirm_reads: int = _setting(
        1, "Answers that must agree before a bar is appended, --settle-sec apart.", at_least=1, at_most=2
    )
    alert: tuple[str, ...] = _setting(
        (), "Where trouble is told: an address that apprise knows. Repeatable.", secret=True
    )
    heartbeat_url: str = _setting("", "Called after each cycle that ended well.", secret=True)
    metrics_file: Path | None = _setting(None, "File .prom for node_exporter's textfile collector, after each cycle.")
    listen: str = _setting("", "Watch: serve /metrics and /healthz here, as 127.0.0.1:9464.")
    log_format: Literal["text", "json"] = _setting("text", "Log for people, or one JSON object a line.")

    def __init__(self, **values: Any) -> None:
        """`values` by the names of the fields; each other has its default."""
        assert values.keys() <= _NAMES, values.keys() - _NAMES
        vars(self).update(values)

    def series(self) -> Series:
        """The series, once all settings fit together; `UsageError` names the one that does not."""
        try:
            series = Series.of(self.symbol, self.interval)
        except UsageError as problem:
            raise UsageError(f"--symbol or --interval: {problem}") from None
        self._check(series)
        return series

    def _check(self, series: Series) -> None:
        for field in dataclasses.fields(self):
            _check_field(field, getattr(self, field.name))
        if self.settle_sec * 1000 >= series.interval.ms:
            raise UsageError(f"--settle-sec {self.settle_sec:g} must be shorter than --interval {series.interval}")
        if self.window_hours and self.min_window_hours > self.window_hours:
            raise UsageError(
                f"--min-window-hours {self.min_window_hours} is more than --window-hours {self.window_hours}"
            )
        if self.min_window_hours > grid.INFERENCE_SPAN_HOURS + self.buffer_hours:
            raise UsageError(
                f"--min-window-hours {self.min_window_hours} is more than the whole window: 720 and --buffer-hours"
                f" {self.buffer_hours}"
            )
        if len(self.dataset) > 200:  # noqa: PLR2004 - what file systems hold as a name, with room for the slug
            raise UsageError(f"--dataset has {len(self.dataset)} characters, expected at most 200")
        if stray := stray_ends(self.dataset):
            raise UsageError(f"--dataset {self.dataset!r} {stray}")
        if self.metrics_file and not self.metrics_file.name.endswith(".prom"):
            name = str(self.metrics_file)[:120]
            raise UsageError(f"--metrics-file {name!r} does not end in .prom: node_exporter reads no other")
        check_address("--base-url", self.base_url)
        check_address("--spot-url", self.spot_url)
        check_address("--stream-url", self.stream_url, STREAM_URL)
        if self.stream and self.stream_url == STREAM_URL and not is_binance(self.base_url):
            raise UsageError(
                f"--stream-url {self.stream_url} is not the stream of --base-url {self.base_url}: bars close at another"
                " time there",
                hint="name its own stream: for barfeed replay the address that it prints, ws://127.0.0.1:8080/market",
            )
        if "spot_klines" in self.kinds and self.spot_url == SPOT_URL and not is_binance(self.base_url):
            raise UsageError(
                f"--spot-url {self.spot_url} is not the spot market of --base-url {self.base_url}: bars close at"
                " another time there",
                hint="name its own: barfeed replay has it at the same address",
            )
        self._check_secrets()

    def _check_secrets(self) -> None:
        # Only their shape: to know a channel takes a library that a good hour goes without.
        for number, address in enumerate(self.alert, 1):
            if not re.fullmatch(_CHANNEL, address):
                raise UsageError(
                    f"--alert: address {number} (not shown) is not like ntfy://topic", hint="see docs/alerts.md"
                )
        if self.heartbeat_url and not is_server(self.heartbeat_url, {"http", "https"}):
            raise UsageError("--heartbeat-url (not shown) is not an address like https://hc.example.org/ping/feed")


def _check_field(field: "dataclasses.Field[Any]", value: Any) -> None:
    # NaN is in every range: it compares as false with both ends.
    if isinstance(value, float) and math.isnan(value):
        low, high = field.metadata["at_least"], field.metadata["at_most"]
        raise UsageError(f"{_flag(field.name)} nan is not in the range {low:g} to {high:g}")
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, str | Path) and not _is_text(str(each)):
            raise UsageError(f"{_flag(field.name)} {_shown(field.name, str(each)[:60])} is no UTF-8 text")


def _shown(name: str, value: object) -> str:
    """A value as messages write it: one that may hold a token or a password is not for a log."""
    return "(not shown)" if name in SECRETS else repr(value)


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def variable(name: str) -> str:
    """The environment variable of a setting, `BARFEED_N_RECENT`."""
    return f"BARFEED_{name.upper()}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def settings_options(command: _Command) -> _Command:
    """Give a click command one option for each setting, and `--config`."""
    return options_of(*(field.name for field in dataclasses.fields(Settings)))(command)


def options_of(*names: str, **says: str) -> Callable[[_Command], _Command]:
    """Give a click command the options of these settings, in the order of `Settings`, and `--config`.

    `says` names settings too, with a help of their own: `options_of("symbol", json="Print the summary as JSON.")`.
    Each arrives as a keyword argument; a file may hold other settings, for other commands.
    """
    wanted = {*names, *says}
    if "debug" in wanted:
        # Wherever there is a log, it can be had in both forms.
        wanted.add("log_format")
    assert wanted <= _NAMES, wanted - _NAMES
    # None looks at a file in silence where the environment names a database.
    assert ("duckdb" in wanted) == ("store" in wanted)

    def decorate(command: _Command) -> _Command:
        for field in reversed(dataclasses.fields(Settings)):
            if field.name in wanted:
                command = _option(field, _TYPES[field.name], says.get(field.name))(command)
        return _config_option(command)

    return decorate


def _config_option(command: _Command) -> _Command:
    return click.option(
        "--config",
        type=MeantPath(exists=True, dir_okay=False, path_type=Path),
        envvar=variable("config"),
        show_envvar=True,
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file with settings, each under its flag's name with _ for -.",
    )(command)


def _option(field: "dataclasses.Field[Any]", kind: Any, says: str | None) -> Callable[[_Command], _Command]:
    flag = _flag(field.name)
    return click.option(
        f"{flag}/--once" if field.name == "watch" else flag,
        field.name,
        type=_click_type(field, kind),
        is_flag=kind is bool,
        multiple=kind == _MANY,
        default=field.default,
        # Never for a secret, whose default is empty: what a file gives would be shown as the default, too.
        show_default=field.default not in {"", False, None, ()},
        envvar=variable(field.name),
        show_envvar=True,
        help=says or field.metadata["says"],
    )


def _click_type(field: "dataclasses.Field[Any]", kind: Any) -> Any:
    low, high = field.metadata["at_least"], field.metadata["at_most"]
    if kind is int:
        return click.IntRange(low, high)
    if kind is float:
        return click.FloatRange(low, high)
    if kind in {Path, Path | None}:
        # Who may not read it is told by whoever opens it, as any other trouble with the disk.
        return MeantPath(path_type=Path, readable=False)
    if kind in _CLICK_TYPES:
        return _CLICK_TYPES[kind]
    if typing.get_origin(kind) is Literal:
        return _Choice(typing.get_args(kind))
    return kind


class _Choice(click.Choice[str]):
    """One of some words, also with blanks around a comma, as a list is written elsewhere: `db, api`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, or wrong usage."""
        return super().convert(re.sub(r"\s*,\s*", ",", value.strip()), param, ctx)


def _read_config(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    # Imported only here: most runs have no such file.
    import tomllib  # noqa: PLC0415

    try:
        values = tomllib.loads(_text(path))
    except (OSError, ValueError, RecursionError) as problem:
        raise UsageError(f"{path} cannot be read as TOML: {problem}") from None
    options = {option.name or "": option for option in context.command.params if option.name in _NAMES}
    for name, value in values.items():
        _check_value(path, name, value, options, context)
    context.default_map = dict(context.default_map or {}) | values
    context.meta["config"] = path


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{path} is UTF-16 text, expected UTF-8", hint="save it as UTF-8; a byte order mark may stay")
    return content.decode("utf-8-sig")


def _check_value(
    path: Path, name: str, value: object, options: Mapping[str, click.Parameter], context: click.Context
) -> None:
    if name not in _NAMES:
        raise _unknown(path, name, value)
    if not _fits(value, _TYPES[name]):
        raise UsageError(f"{path}: {name} = {_shown(name, value)}: expected {_EXPECTED.get(_TYPES[name], 'a text')}")
    if name not in options:
        # A setting of another command.
        return
    try:
        options[name].type_cast_value(context, value)
    except (click.BadParameter, OverflowError, ValueError) as problem:
        said = getattr(problem, "message", problem)
        raise UsageError(f"{path}: {name} = {_shown(name, value)}: {said}"[:400]) from None


def _unknown(path: Path, name: str, value: object) -> UsageError:
    if tables := list(_tables(name, value)):
        return UsageError(
            f"{path}: {tables[0]} is a table, and settings stand in none: all commands read the same ones",
            hint=_without(tables, _text(path)),
        )
    import difflib  # noqa: PLC0415 - a typo may cost a moment, a good run not

    # As its flag or its variable is written, too.
    meant = name.strip("-").lower().replace("-", "_").removeprefix("barfeed_")
    close = difflib.get_close_matches(meant, _NAMES, n=1)
    return UsageError(f"{path}: {name!r} is not a setting" + (f"; did you mean {close[0]!r}?" if close else ""))


def _tables(name: str, value: object) -> Iterator[str]:
    """The tables that a value is, each by the line that begins it: `[barfeed.run]` is one, though it stands in two."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"[[{name}]]"
    if not isinstance(value, dict):
        return
    inner = [each for key, within in value.items() for each in _tables(f"{name}.{key}", within)]
    if not inner or any(not isinstance(within, dict) for within in value.values()):
        yield f"[{name}]"
    yield from inner


def _without(tables: Sequence[str], text: str) -> str:
    if all(each in text for each in tables):
        return f"take the line{'s' * (len(tables) > 1)} {', '.join(tables)} out"
    return "write each key by itself, at the top of the file: n_recent = 6"


def _fits(value: object, kind: Any) -> bool:
    # TOML's true is an int to Python, and click would take a number for a path.
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind in {int, float}:
        return isinstance(value, int) or (kind is float and isinstance(value, float))
    if kind == _MANY:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)


_MANY = tuple[str, ...]
_CLICK_TYPES = {_MANY: str, Lake: MeantLake(), Database: MeantDatabase()}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", _MANY: "a list of texts"}
_TYPES = typing.get_type_hints(Settings)
_NAMES = frozenset(_TYPES)
# Settings that may hold a token or a password: never shown, logged or repeated.
SECRETS = frozenset(field.name for field in dataclasses.fields(Settings) if field.metadata["secret"])

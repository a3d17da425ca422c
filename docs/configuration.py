"""Prints docs/configuration.md from the settings themselves: `make docs`."""

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any, Literal

from barfeed.cli.settings import Settings, variable

HEAD = """\
# Configuration

Written by `make docs` from the settings themselves; `make test` tells when it is out of date.

Every setting of `barfeed run` can be given in three ways: as a flag, as a variable of the environment, as a key of a
TOML file that `--config` (or `BARFEED_CONFIG`) names. A flag counts before its variable, the variable before the file,
the file before the default. The other commands know those settings that concern them, by the same names, so one
environment or one file serves all of them. A key that a command has no use for is left alone; a key that is no setting
at all is refused. So a watch's environment serves a single cycle, too: `listen` and `stream` are then left alone, while
`--listen` or `--stream` without `--watch` on the command line is wrong usage.

An empty variable counts as not given. A switch is `1`, `true` or `yes` in a variable, `true` in the file. An unknown
name, a value of the wrong type or one out of its range ends with exit 2, and names the flag, the variable or the key.

A `~` at the beginning of a path is the home it stands for, wherever it is given. What else only a shell would read,
quotes, `$HOME`, `%USERPROFILE%`, a carriage return at the end, is refused, and no folder of that name is made.

## A file

Every key is optional. Keys stand at the top level, in any order and in no table; the text is UTF-8, with or without
a byte order mark:

```toml
# barfeed run --config barfeed.toml
symbol = "BTCUSDT"
interval = "1h"
duckdb = "/var/lib/barfeed/ohlcv.duckdb"
persist_dir = "/var/lib/barfeed/feed"
dataset = "BINANCE_BTCUSDT.P, 60"
catch_up = true
buffer_hours = 7
max_wait_sec = 300
on_mismatch = "accept"
retain_days = 90
then = 'python your_inference.py "$BARFEED_INFERENCE_CSV"'
```

## Every setting

Numbers say their unit last: `_sec` are seconds.
"""


def page() -> str:
    """The whole page."""
    kinds = typing.get_type_hints(Settings)
    rows = [_row(field, kinds[field.name]) for field in dataclasses.fields(Settings)]
    return "\n".join([HEAD, "| flag, variable, key | value | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def _row(field: "dataclasses.Field[Any]", kind: Any) -> str:
    flag = f"--{field.name.replace('_', '-')}"
    names = "<br>".join(f"`{name}`" for name in (flag, variable(field.name), field.name))
    # A default that follows from other settings stands in the text itself.
    says = field.metadata["says"].partition("  [default")
    default = says[2].removeprefix(": ").removesuffix("]") or _default(field.default)
    return f"| {names} | {_value(field, kind)} | {default} | {says[0]} |"


def _value(field: "dataclasses.Field[Any]", kind: Any) -> str:
    low, high = field.metadata["at_least"], field.metadata["at_most"]
    if low is not None:
        return f"{'whole ' if kind is int else ''}number, {low:g} to {high:g}"
    if typing.get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in typing.get_args(kind))
    return {bool: "switch", Path: "path", Path | None: "path", tuple[str, ...]: "list of texts"}.get(kind, "text")


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if value in {"", None, ()}:
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())

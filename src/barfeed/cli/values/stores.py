"""Which store is meant: a DuckDB file by its path, or a database by its address."""

from typing import Any, NewType

import click
from click.core import ParameterSource

from barfeed.cli.values.paths import MeantPath
from barfeed.domain.errors import UsageError

Database = NewType("Database", str)


class MeantDatabase(click.ParamType[str]):
    """An address like `postgresql://feeder@db.example.org/market`; none is repeated that may hold a password."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's signature
        """The same, or wrong usage."""
        if not value:
            return ""
        # Imported here: most feeds have a file.
        from barfeed.store.postgres.link.address import checked  # noqa: PLC0415

        return checked("--store", str(value))


class MeantStore(click.ParamType[str]):
    """A path as a `MeantPath`, or an address as a `MeantDatabase`."""

    name = "store"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same, or wrong usage."""
        from barfeed.store.postgres.link.address import checked, is_address  # noqa: PLC0415 - as above

        if is_address(str(value)):
            return checked("the address", str(value))
        return str(MeantPath().convert(value, param, ctx))


def meant_database(database: str) -> str:
    """The address, empty where it is that of the environment or the file and a DuckDB file is typed."""
    source = click.get_current_context().get_parameter_source
    is_typed, is_file_typed = (source(name) is ParameterSource.COMMANDLINE for name in ("store", "duckdb"))
    if database and is_typed and is_file_typed:
        raise UsageError("--store does not go with --duckdb", hint="leave one of the two out")
    return "" if is_file_typed else database

"""A PostgreSQL database as one side of a copy."""

# ruff: noqa: S608 - tables and columns are of our own names only

from barfeed.history.copying.chunk import Chunk
from barfeed.history.copying.content import ALL, Content
from barfeed.history.copying.sides import TABLES, Extent, Rows
from barfeed.store.postgres.kinds.tables import KindTable
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import columns
from barfeed.store.postgres.tables.filling import fill
from barfeed.store.postgres.tables.schema import SCHEMA


class DatabaseSide:
    """A PostgreSQL database."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.name = server.name

    def extents(self) -> list[Extent]:
        """See `Side`."""
        bars = [Extent(Content(each), held.first_ms, held.newest_ms) for each, held in self._server.held().items()]
        with self._server.session(write=False) as connection:
            found = [(each, _span(connection, each)) for each in ALL]
        return bars + [Extent(content, *span) for content, span in found if span]

    def chunk(self, content: Content, from_ms: int, to_ms: int) -> Chunk:
        """See `Side`."""
        with self._server.session(write=False) as connection:
            symbols = self._symbols(connection, content)
            spans = dict.fromkeys(symbols, (from_ms, to_ms))
            sent, table = content.sent, f"{SCHEMA}.{content.table}"
            found = columns.rows(connection, table, spans, sent) if symbols else columns.none(sent)
        return Chunk(sent, symbols, found).sorted()

    def put_chunk(self, content: Content, rows: Chunk) -> None:
        """See `Side`."""
        with self._server.session(write=True) as connection:
            if content.kind:
                KindTable(connection, content.kind, content.interval).make()
            fill(connection, f"{SCHEMA}.{content.table}", rows.symbols, rows.columns, rows.sent)

    def rows(self, table: str) -> Rows:
        """See `Side`."""
        names, order = TABLES[table]
        with self._server.session(write=False) as connection:
            cursor = connection.cursor(binary=True)
            return cursor.execute(f"SELECT {', '.join(names)} FROM {SCHEMA}.{table} ORDER BY {order}").fetchall()

    def put_rows(self, table: str, rows: Rows) -> None:
        """See `Side`."""
        names = TABLES[table][0]
        marks = ", ".join("%s" for _ in names)
        with self._server.session(write=True) as connection:
            _insert_all(connection, f"INSERT INTO {SCHEMA}.{table} ({', '.join(names)}) VALUES ({marks})", rows)

    def _symbols(self, connection: Connection, content: Content) -> list[str]:
        if content.kind:
            return sorted(KindTable(connection, content.kind, content.interval).symbols())
        return sorted(self._server.market(connection, content.interval).symbols())


def _span(connection: Connection, content: Content) -> tuple[int, int] | None:
    """From the first row of a kind to the last."""
    return KindTable(connection, content.kind, content.interval).span() if content.kind else None


def _insert_all(connection: Connection, statement: str, rows: Rows) -> None:
    connection.cursor().executemany(statement, rows)

"""What makes the tables of kinds: each when its first row comes, by a function that runs with its owner's rights.

A feeder may make no table of its own. What may be done with one that is made so is what may be done with the two that
are always there: who reads what came late reads it, who notes that appends to it, who notes revisions changes values.
"""

from collections.abc import Iterable, Mapping

from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS

LATE, REVISIONS = "kinds_late", "kinds_revisions"
_TABLES = """
CREATE TABLE {schema}.{late} (
  kind text NOT NULL, interval text NOT NULL, {symbol}, since timestamp NOT NULL, until timestamp NOT NULL,
  seen_at timestamp NOT NULL
);
CREATE INDEX {late}_until ON {schema}.{late} (kind, interval, until);
CREATE TABLE {schema}.{revisions} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL, interval text NOT NULL, {symbol},
  timestamp timestamp NOT NULL, name text NOT NULL, old double precision, new double precision,
  seen_at timestamp, accepted_at timestamp DEFAULT {now}, reason text, run text
);
CREATE FUNCTION {schema}.make_kind(kind text, period text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $function$
DECLARE
  typed text := CASE kind {typed} END;
  named text := CASE kind {named} END;
  made text := kind || CASE WHEN kind IN ({for_all}) THEN '' ELSE '_' || period END;
  given record;
BEGIN
  IF typed IS NULL OR period NOT IN ({intervals}) THEN
    RAISE EXCEPTION 'there is no kind % of %', kind, period;
  END IF;
  EXECUTE format($table$
    CREATE TABLE IF NOT EXISTS {schema}.%I (
      {symbol}, timestamp timestamp NOT NULL, known_at timestamp NOT NULL, %s, created_at timestamp DEFAULT {now},
      PRIMARY KEY (symbol, timestamp)
    )
  $table$, made, typed);
  FOR given IN
    SELECT one.grantee::regrole AS whose, one.privilege_type AS what,
           has_column_privilege(one.grantee, '{schema}.{revisions}', 'name', 'INSERT') AS revises
    FROM pg_class AS late, aclexplode(late.relacl) AS one
    WHERE late.oid = '{schema}.{late}'::regclass AND one.grantee NOT IN (0, late.relowner)
  LOOP
    IF given.what = 'SELECT' THEN
      EXECUTE format('GRANT SELECT ON {schema}.%I TO %s', made, given.whose);
    ELSIF given.what = 'INSERT' THEN
      EXECUTE format('GRANT INSERT (symbol, timestamp, known_at, %s) ON {schema}.%I TO %s', named, made, given.whose);
      IF given.revises THEN
        EXECUTE format('GRANT UPDATE (%s) ON {schema}.%I TO %s', named, made, given.whose);
      END IF;
    END IF;
  END LOOP;
END $function$;
REVOKE ALL ON FUNCTION {schema}.make_kind(text, text) FROM PUBLIC
"""


def statements(schema: str, symbol: str, now: str) -> str:
    """What makes the two tables and the function; `symbol` is a column, and `now` an expression."""
    return _TABLES.format(
        schema=schema, symbol=symbol, now=now, late=LATE, revisions=REVISIONS,
        typed=_cases({kind.name: _typed(kind) for kind in KINDS.values()}),
        named=_cases({kind.name: ", ".join(kind.names) for kind in KINDS.values()}),
        for_all=_texts(kind.name for kind in KINDS.values() if not kind.length),
        intervals=_texts(Interval),
    )  # fmt: skip


def _typed(kind: Kind) -> str:
    return ", ".join(f"{each.name} {'bigint' if each.is_count else 'double precision'}" for each in kind.columns)


def _cases(told: Mapping[str, str]) -> str:
    return " ".join(f"WHEN '{name}' THEN '{text}'" for name, text in told.items())


def _texts(names: Iterable[str]) -> str:
    return ", ".join(f"'{each}'" for each in names)

-- The rights of a feeder, and no more, for a role that is made here; run it again after each `barfeed migrate`:
--
--     psql postgresql://owner@db.example.org/market -f deploy/postgres/feeder.sql
--
-- Then, for each host: CREATE ROLE feeder_a LOGIN PASSWORD '...' IN ROLE barfeed_feeder;

DO $$ BEGIN CREATE ROLE barfeed_feeder NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;

GRANT USAGE ON SCHEMA barfeed TO barfeed_feeder;
GRANT SELECT ON ALL TABLES IN SCHEMA barfeed TO barfeed_feeder;

-- When a row was appended, and when a change was accepted, the server tells: neither can be written.
DO $$
DECLARE bars text;
BEGIN
  FOR bars IN SELECT tablename FROM pg_tables
    WHERE schemaname = 'barfeed' AND tablename ~ '^ohlcv_[0-9]+[mhd]$'
  LOOP
    EXECUTE format('GRANT INSERT (symbol, timestamp, open, high, low, close, volume) ON barfeed.%I TO barfeed_feeder', bars);
    -- `barfeed repair`, and with --on-mismatch accept the feed, change a stored bar; both versions are kept. Without them,
    -- this can be left out.
    EXECUTE format('GRANT UPDATE (open, high, low, close, volume) ON barfeed.%I TO barfeed_feeder', bars);
  END LOOP;
END $$;
GRANT INSERT (
  series, timestamp, old_open, old_high, old_low, old_close, old_volume,
  new_open, new_high, new_low, new_close, new_volume, seen_at, reason, run
) ON barfeed.ohlcv_revisions TO barfeed_feeder;
-- A table of a kind of series is made when its first row comes, by this function. It gives the rights on it that are
-- given here on these two; on those that are there already, the loop below gives them.
GRANT EXECUTE ON FUNCTION barfeed.make_kind(text, text) TO barfeed_feeder;
GRANT INSERT ON barfeed.kinds_late TO barfeed_feeder;
-- As above: without changes of stored rows, this and the second GRANT of the loop can be left out.
GRANT INSERT (kind, interval, symbol, timestamp, name, old, new, seen_at, reason, run)
  ON barfeed.kinds_revisions TO barfeed_feeder;
DO $$
DECLARE kept record;
BEGIN
  FOR kept IN SELECT relname, string_agg(quote_ident(attname), ', ') FILTER (WHERE attname <> 'known_at') AS named
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
    WHERE relnamespace = 'barfeed'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
      AND attname NOT IN ('symbol', 'timestamp', 'created_at')
    GROUP BY relname HAVING bool_or(attname = 'known_at')
  LOOP
    EXECUTE format('GRANT INSERT (symbol, timestamp, known_at, %s) ON barfeed.%I TO barfeed_feeder', kept.named, kept.relname);
    EXECUTE format('GRANT UPDATE (%s) ON barfeed.%I TO barfeed_feeder', kept.named, kept.relname);
  END LOOP;
END $$;
GRANT INSERT ON barfeed.symbols, barfeed.exchange_gaps TO barfeed_feeder;
GRANT INSERT, UPDATE ON barfeed.feeders TO barfeed_feeder;

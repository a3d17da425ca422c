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
GRANT INSERT ON barfeed.symbols, barfeed.exchange_gaps TO barfeed_feeder;
GRANT INSERT, UPDATE ON barfeed.feeders TO barfeed_feeder;

-- The rights of a reader, for a role that is made here; run it again after each `barfeed migrate`:
--
--     psql postgresql://owner@db.example.org/market -f deploy/postgres/reader.sql
--
-- Then, for each model: CREATE ROLE model_a LOGIN PASSWORD '...' IN ROLE barfeed_reader;

DO $$ BEGIN CREATE ROLE barfeed_reader NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;

GRANT USAGE ON SCHEMA barfeed TO barfeed_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA barfeed TO barfeed_reader;

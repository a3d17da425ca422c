-- The users of compose.yaml, with the passwords that psql is given as variables; run again, it changes the passwords.

SELECT format('CREATE ROLE feeder LOGIN IN ROLE barfeed_feeder')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'feeder') \gexec
SELECT format('CREATE ROLE replicator LOGIN REPLICATION')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \gexec
ALTER ROLE feeder PASSWORD :'feeder';
ALTER ROLE replicator PASSWORD :'replicator';

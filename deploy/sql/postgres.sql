-- The account with which switchyard reads the four tables, and nothing else: run it in the PBX's database as an
-- administrator of PostgreSQL 14 or later. Change the password, and the schema if the tables stand elsewhere.
--
-- Goes to: the PBX's database, once
-- How-to: docs/how-to/connect-production-database.md
--
--   psql --dbname pbx --file deploy/sql/postgres.sql
--
-- The rights to write (one column of did_numbers, and tables of our own) come with `switchyard db migrate`, if at all.
DO $$ BEGIN
    CREATE ROLE switchyard LOGIN PASSWORD 'CHANGE-ME';
EXCEPTION WHEN duplicate_object THEN
    RAISE NOTICE 'the role is there already';
END $$;
GRANT USAGE ON SCHEMA public TO switchyard;
GRANT SELECT ON organizations, did_numbers, users, sip_trunks TO switchyard;

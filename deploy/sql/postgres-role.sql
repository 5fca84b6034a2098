-- The account with which switchyard reads, and nothing else: run in the PBX's database as an administrator of
-- PostgreSQL 14 or later. Change the password, and the schema if the tables stand elsewhere.
DO $$ BEGIN
    CREATE ROLE switchyard LOGIN PASSWORD 'CHANGE-ME';
EXCEPTION WHEN duplicate_object THEN
    RAISE NOTICE 'the role is there already';
END $$;
GRANT USAGE ON SCHEMA public TO switchyard;
GRANT SELECT ON organizations, did_numbers, users, sip_trunks TO switchyard;

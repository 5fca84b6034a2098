-- The account with which switchyard reads the four tables, and nothing else: run it as an administrator of MariaDB 10.6
-- or later. Change the password, the host if the database is not on the proxy's machine, and the database's name.
--
-- Goes to: the PBX's database, once
-- How-to: docs/how-to/connect-production-database.md
--
--   mariadb -u root < deploy/sql/mariadb.sql
--
-- The rights to write (one column of did_numbers, and tables of our own) come with `switchyard db migrate`, if at all.
CREATE USER IF NOT EXISTS 'switchyard'@'127.0.0.1' IDENTIFIED BY 'CHANGE-ME';
GRANT SELECT ON pbx_api_db.organizations TO 'switchyard'@'127.0.0.1';
GRANT SELECT ON pbx_api_db.did_numbers   TO 'switchyard'@'127.0.0.1';
GRANT SELECT ON pbx_api_db.users         TO 'switchyard'@'127.0.0.1';
GRANT SELECT ON pbx_api_db.sip_trunks    TO 'switchyard'@'127.0.0.1';

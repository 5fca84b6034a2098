-- SQLite has no accounts: what the file's owner and mode allow is what switchyard may do. Readable is enough for the
-- directory; `switchyard did`, testers and panic need to write the file and its folder.
--
--   sqlite3 /var/lib/switchyard/directory.db < deploy/sql/sqlite.sql
--   chgrp switchyard /var/lib/switchyard/directory.db && chmod 0640 /var/lib/switchyard/directory.db
--
-- A reader and a writer wait for each other for no longer than a commit. The mode stays with the file.
PRAGMA journal_mode = DELETE;

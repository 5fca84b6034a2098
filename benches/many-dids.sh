# Shared by the benches that need a large directory in an SQLite file; to be read with `.`.

# many_dids FILE COUNT: the reference rows, and COUNT numbers in a row whose environments take turns.
many_dids() {
    sqlite3 "$1" < "$root/fixtures/directory/sqlite.sql"
    sqlite3 "$1" <<SQL
INSERT INTO organizations (id, name, context_prefix, status) VALUES ('org-load', 'Load', 'org_a1b2c3d4_', 'active');
WITH RECURSIVE place(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM place WHERE n < $2 - 1)
INSERT INTO did_numbers (id, org_id, number, status, pool_status, routing_environment)
SELECT 'did-' || n, 'org-load', '+91' || (8065900000 + n), 'active', 'assigned',
       CASE n % 3 WHEN 0 THEN 'prod' WHEN 1 THEN 'staging' ELSE 'oss' END
FROM place;
SQL
}

# serves_many_dids PROGRAM FOLDER PID COUNT: waits until it serves them.
serves_many_dids() {
    for _ in $(seq 200); do
        "$1" status --config "$2/switchyard.toml" 2>/dev/null | grep -q " $4 DIDs" && return
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    "$1" status --config "$2/switchyard.toml" || true
    cat "$2/log" >&2
    exit 1
}

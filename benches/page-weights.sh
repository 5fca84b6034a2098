#!/bin/bash
# What each page weighs and how long the server takes for it, with a large directory. benches/README.md says how.
#
#   benches/page-weights.sh [PROGRAM] [DIDS] [REPEATS]
#
# Needs sqlite3 and curl. Everything runs on 127.0.205.1 to .5, in a folder that is removed.
set -euo pipefail

program=$(realpath "${1:-target/release/switchyard}")
dids=${2:-10000} repeats=${3:-50}
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
proxy_pid=''

end() {
    if [ -n "$proxy_pid" ]; then
        kill -KILL "$proxy_pid" 2>/dev/null || true
        wait "$proxy_pid" 2>/dev/null || true
    fi
}
trap 'end; rm -rf "$folder"' EXIT

. "$root/benches/many-dids.sh"
many_dids "$folder/directory.db" "$dids"
mkdir "$folder/state"
cat > "$folder/switchyard.toml" <<TOML
state_dir = "$folder/state"
[sip]
listen = ["udp:127.0.205.1:5060"]
[[trunk]]
name = "tata"
gateways = ["udp:127.0.205.2:5060"]
caller_id = "pass"
[environments]
prod = { targets = ["udp:127.0.205.3:5060"] }
staging = { targets = ["udp:127.0.205.4:5060"] }
oss = { targets = ["udp:127.0.205.5:5060"] }
[database]
url = "sqlite://$folder/directory.db"
[admin]
listen = "127.0.205.1:8080"
TOML
env -u ASTRADIAL_ENV RUST_LOG=error "$program" run --config "$folder/switchyard.toml" > "$folder/log" 2>&1 &
proxy_pid=$!
serves_many_dids "$program" "$folder" "$proxy_pid" "$dids"
token=$("$program" token add bench --role admin --reason bench -o json --config "$folder/switchyard.toml" \
    | sed -n 's/.*"token": "\(.*\)".*/\1/p')
base=http://127.0.205.1:8080

ask() {
    curl --silent --show-error --fail --header "Authorization: Bearer $token" "$@"
}

echo "$dids DIDs, $repeats repeats; server time is from the request's last byte to the answer's last byte"
printf '%-44s %9s %9s %8s %8s %8s\n' page bytes gzipped min_ms med_ms max_ms
for path in /admin /admin/dids '/admin/dids?search=08065904321' '/admin/dids?search=load' \
    '/admin/dids?environment=oss&after=%2B918065905000' /admin/calls /admin/peers /admin/generations /admin/faults \
    /admin/testers /admin/audit '/api/v1/dids?limit=1000'; do
    rm -f "$folder/times"
    for _ in $(seq "$repeats"); do
        # One client has a hundred requests a second; this keeps below it.
        sleep 0.02
        ask --output "$folder/page" --write-out '%{time_pretransfer} %{time_total}\n' "$base$path" >> "$folder/times"
    done
    awk '{ printf "%.2f\n", ($2 - $1) * 1000 }' "$folder/times" | sort -n > "$folder/sorted"
    awk -v path="$path" -v bytes="$(stat -c %s "$folder/page")" -v gzipped="$(gzip -9 < "$folder/page" | wc -c)" \
        '{ all[NR] = $1 } END { printf "%-44s %9d %9d %8.2f %8.2f %8.2f\n", path, bytes, gzipped, all[1], all[int((NR + 1) / 2)], all[NR] }' \
        "$folder/sorted"
done
for asset in $(ask "$base/admin" | grep -o '/admin/assets/[^"]*'); do
    ask --output "$folder/asset" "$base$asset"
    printf '%-44s %9d %9d\n' "${asset##*/}" "$(stat -c %s "$folder/asset")" "$(gzip -9 < "$folder/asset" | wc -c)"
done

#!/bin/bash
# What a crowd at the admin listener costs calls: 1,000 streams of events, slow clients, huge bodies and pages that are read,
# by turns with nobody there. benches/README.md says how. Exits with 1 when a figure misses its aim.
#
#   benches/admin-load.sh [PROGRAM] [RATE] [SECONDS] [ROUNDS]
#
# Needs sqlite3, and target/release/load and crowd. Everything runs on 127.0.204.1 to .5 and .100 to .149, in a folder that
# is removed; the program has a core of its own.
set -euo pipefail

program=$(realpath "${1:-target/release/switchyard}")
rate=${2:-1000} seconds=${3:-20} rounds=${4:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
load="$root/target/release/load" crowd="$root/target/release/crowd"
folder=$(mktemp -d)
proxy_pid='' crowd_pid=''

end() {
    for pid in $proxy_pid $crowd_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    proxy_pid='' crowd_pid=''
}
trap 'end; rm -rf "$folder"' EXIT

. "$root/benches/many-dids.sh"
many_dids "$folder/directory.db" 10000
mkdir "$folder/state"
cat > "$folder/switchyard.toml" <<TOML
state_dir = "$folder/state"
[sip]
listen = ["udp:127.0.204.1:5060"]
[[trunk]]
name = "tata"
gateways = ["udp:127.0.204.2:5060"]
caller_id = "pass"
[environments]
prod = { targets = ["udp:127.0.204.3:5060"] }
staging = { targets = ["udp:127.0.204.4:5060"] }
oss = { targets = ["udp:127.0.204.5:5060"] }
[database]
url = "sqlite://$folder/directory.db"
[admin]
listen = "127.0.204.1:8080"
TOML

ulimit -n 8192

start() {
    end
    env -u ASTRADIAL_ENV RUST_LOG=error taskset -c 0 "$program" run --config "$folder/switchyard.toml" > "$folder/log" 2>&1 &
    proxy_pid=$!
    serves_many_dids "$program" "$folder" "$proxy_pid" 10000
}

start
"$program" token add crowd --role operator --reason bench -o json --config "$folder/switchyard.toml" \
    | sed -n 's/.*"token": "\(.*\)".*/\1/p' > "$folder/token"

calls() {
    taskset -c 1 "$load" --proxy 127.0.204.1:5060 --gateway 127.0.204.2:5060 --prod 127.0.204.3:5060 \
        --staging 127.0.204.4:5060 --oss 127.0.204.5:5060 --rate "$rate" --seconds "$seconds" > "$folder/figures" \
        || { cat "$folder/figures" >&2; exit 1; }
}

figure() {
    awk -v name="$1" '$1 == name { print $2 }' "$folder/figures"
}

median() {
    sort -n "$1" | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'
}

# What a start costs is none of the crowd's.
start
calls

for round in $(seq "$rounds"); do
    calls
    figure answered_p99_us >> "$folder/alone"
    taskset -c 1 "$crowd" 127.0.204.1:8080 "$folder/token" $((seconds + 5)) > "$folder/crowd" &
    crowd_pid=$!
    for _ in $(seq 600); do
        grep -q crowded "$folder/crowd" && break
        kill -0 "$crowd_pid" 2>/dev/null || break
        sleep 0.1
    done
    grep -q crowded "$folder/crowd" || { echo 'the crowd did not come' >&2; exit 1; }
    calls
    figure answered_p99_us >> "$folder/beside"
    wait "$crowd_pid"
    crowd_pid=''
    echo "round $round: p99 $(tail -1 "$folder/alone") us alone, $(tail -1 "$folder/beside") us beside the crowd;" \
        "$(figure completed) of $(figure begun) completed; $(tr '\n' ' ' < "$folder/crowd")"
done
alone=$(median "$folder/alone") beside=$(median "$folder/beside")
echo "median of $rounds rounds at $rate calls/s: p99 $alone us alone, $beside us beside the crowd"
if awk "BEGIN { exit !($beside <= $alone + 1000) }"; then
    echo '  holds:  the added p99 is at most 1 ms'
else
    echo '  MISSED: the added p99 is at most 1 ms'
    exit 1
fi

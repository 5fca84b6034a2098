#!/bin/bash
# The processor's time per call with one worker and with two, whose calls all come from a single gateway, and what part of
# it each worker has. benches/README.md says how. Exits with 1 when a goal is missed.
#
#   benches/workers.sh [PROGRAM] [CALLS_PER_SECOND] [SECONDS] [ROUNDS]
#
# With WORKERS_HIGHEST=1 it then looks for the highest rate with one worker and with two, from CALLS_PER_SECOND on, in as
# many rounds.
#
# Needs sqlite3, and target/release/load. Everything runs on 127.0.205.1 to .5, in a folder that is removed; the program
# has a core of its own, which both workers share: what is measured is what a call costs, not how many there can be. With
# four cores or more, WORKERS_CORES=0,2 gives each worker its own.
set -euo pipefail

program=$(realpath "${1:-target/release/switchyard}")
rate=${2:-3000}
seconds=${3:-20}
rounds=${4:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
load="$root/target/release/load"
cores=${WORKERS_CORES:-0}
# Two against one, in parts of a hundred; how far the workers may be apart.
goal=115 goal_apart=20
folder=$(mktemp -d)
proxy_pid=''

end() {
    if [ -n "$proxy_pid" ]; then
        kill -KILL "$proxy_pid" 2>/dev/null || true
        wait "$proxy_pid" 2>/dev/null || true
    fi
    proxy_pid=''
}
trap 'end; rm -rf "$folder"' EXIT

# The numbers that the generator calls: 10,000 in a row.
. "$root/benches/many-dids.sh"
many_dids "$folder/directory.db" 10000

figure() {
    awk -v name="$1" '$1 == name { print $2 }' "$folder/figures"
}

# Ticks of each worker's thread since its start, in their order.
ticks_of_workers() {
    local task
    for task in /proc/"$proxy_pid"/task/*; do
        # The name is in brackets and has no spaces; user and system time are the 14th and 15th field.
        awk '$2 ~ /^\(worker/ { print $2, $14 + $15 }' "$task/stat"
    done | sort | awk '{ print $2 }'
}

# Starts the program with so many workers.
begin() {
    local workers=$1
    rm -rf "$folder/state" && mkdir "$folder/state"
    cat > "$folder/switchyard.toml" <<TOML
state_dir = "$folder/state"
[sip]
listen = ["udp:127.0.205.1:5060"]
workers = $workers
[[trunk]]
name = "tata"
gateways = ["udp:127.0.205.2:5060"]
caller_id = "pass"
[environments]
prod = { targets = ["udp:127.0.205.3:5060"] }
staging = { targets = ["udp:127.0.205.4:5060"] }
oss = { targets = ["udp:127.0.205.5:5060"] }
[probe]
interval = "0s"
[database]
url = "sqlite://$folder/directory.db"
TOML
    env -u ASTRADIAL_ENV RUST_LOG=error taskset -c "$cores" "$program" run --config "$folder/switchyard.toml" \
        > "$folder/log" 2>&1 &
    proxy_pid=$!
    serves_many_dids "$program" "$folder" "$proxy_pid" 10000
}

# Runs the generator; its figures are in a file.
calls() {
    taskset -c 1 "$load" --proxy 127.0.205.1:5060 --gateway 127.0.205.2:5060 --prod 127.0.205.3:5060 \
        --staging 127.0.205.4:5060 --oss 127.0.205.5:5060 --rate "$rate" --seconds "$seconds" "$@" \
        > "$folder/figures" || { cat "$folder/figures" >&2; exit 1; }
}

# Runs all calls once; leaves microseconds per call in `per_call` and, with two workers, how far they are apart in `apart`.
one_run() {
    local workers=$1 handed received
    begin "$workers"
    calls --pid "$proxy_pid"
    per_call=$(figure cpu_us_per_call)
    mapfile -t ticks < <(ticks_of_workers)
    [ "${#ticks[@]}" = "$workers" ] || { echo "${#ticks[@]} workers, expected $workers" >&2; exit 1; }
    "$program" status --config "$folder/switchyard.toml" -o json > "$folder/status"
    received=$(counted switchyard_udp_received_total)
    handed=$(counted switchyard_udp_handed_over_total)
    apart=$(printf '%s\n' "${ticks[@]}" | sort -n | awk 'NR == 1 { least = $1 } { most = $1 }
        END { printf "%.1f", (most > 0 ? (1 - least / most) * 100 : 100) }')
    told="ticks of each worker: ${ticks[*]}; $handed of $received datagrams handed over"
    end
}

# The sum of a counter of the status.
counted() {
    awk -v name="$1" 'BEGIN { RS = "[{}]" } index($0, "\"" name "\"") && match($0, /"value": *[0-9]+/) {
        text = substr($0, RSTART, RLENGTH); sub(/.*: */, "", text); sum += text } END { print sum + 0 }' "$folder/status"
}

for round in $(seq "$rounds"); do
    for workers in 1 2; do
        one_run "$workers"
        echo "round $round, workers = $workers: $per_call us of CPU per call; $told"
        echo "$per_call" >> "$folder/$workers.figures"
        [ "$workers" = 1 ] || echo "$apart" >> "$folder/apart.figures"
    done
done

if [ -n "${WORKERS_HIGHEST:-}" ]; then
    for round in $(seq "$rounds"); do
        for workers in 1 2; do
            begin "$workers"
            calls --find-highest
            end
            echo "round $round, workers = $workers: $(figure highest_rate) calls/s at most"
            [ "$(figure highest_rate_is_the_generators)" = 0 ] || echo "  the generator carried no more"
        done
    done
fi

# Least, median and most.
figures_of() {
    sort -n "$folder/$1.figures" | awk '{ all[NR] = $1 } END { print all[1], all[int((NR + 1) / 2)], all[NR] }'
}
read -r one_least one_median one_most < <(figures_of 1)
read -r two_least two_median two_most < <(figures_of 2)
read -r _ apart_median apart_most < <(figures_of apart)
echo "$((rate * seconds)) calls at $rate/s, $rounds rounds each, us of CPU per call (min, median, max):"
echo "  one worker:  $one_least $one_median $one_most"
echo "  two workers: $two_least $two_median $two_most"
awk -v one="$one_median" -v two="$two_median" -v goal="$goal" -v apart="$apart_median" -v most="$apart_most" \
    -v goal_apart="$goal_apart" 'BEGIN {
    ratio = two / one
    printf "    two against one: %.3f (medians); the goal is at most %.2f: %s\n", ratio, goal / 100,
        ratio * 100 <= goal ? "holds" : "MISSED"
    printf "    apart: %.1f %% (median), %.1f %% (most); the goal is at most %d %%: %s\n", apart, most, goal_apart,
        apart <= goal_apart ? "holds" : "MISSED"
    exit ratio * 100 > goal || apart > goal_apart
}'

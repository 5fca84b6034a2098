#!/bin/bash
# More than can be carried: what is completed at twice the highest rate, and what strangers cost who send ten times as
# much as the highest rate. benches/README.md says how. Exits with 1 when a figure misses its aim.
#
#   benches/overload.sh [PROGRAM] [SECONDS]
#
# Needs sqlite3, curl and chrt, and target/release/load and flood. Everything runs on 127.0.203.1 to .5 and .66, in a
# folder that is removed; the program has a core of its own. The strangers share the generator's core and get what it
# leaves (SCHED_IDLE): they must not make the gateway's calls late, which no real stranger could.
set -euo pipefail

program=$(realpath "${1:-target/release/switchyard}")
seconds=${2:-10}
root=$(cd "$(dirname "$0")/.." && pwd)
load="$root/target/release/load" flood="$root/target/release/flood"
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

start() {
    end
    rm -rf "$folder/state" && mkdir "$folder/state"
    cat > "$folder/switchyard.toml" <<TOML
state_dir = "$folder/state"
[sip]
listen = ["udp:127.0.203.1:5060"]
strangers = "$1"
[[trunk]]
name = "tata"
gateways = ["udp:127.0.203.2:5060"]
caller_id = "pass"
[environments]
prod = { targets = ["udp:127.0.203.3:5060"] }
staging = { targets = ["udp:127.0.203.4:5060"] }
oss = { targets = ["udp:127.0.203.5:5060"] }
[metrics]
listen = "127.0.203.1:9160"
[database]
url = "sqlite://$folder/directory.db"
TOML
    env -u ASTRADIAL_ENV RUST_LOG=error taskset -c 0 "$program" run --config "$folder/switchyard.toml" \
        > "$folder/log" 2>&1 &
    proxy_pid=$!
    serves_many_dids "$program" "$folder" "$proxy_pid" 10000
}

calls() {
    taskset -c 1 "$load" --proxy 127.0.203.1:5060 --gateway 127.0.203.2:5060 --prod 127.0.203.3:5060 \
        --staging 127.0.203.4:5060 --oss 127.0.203.5:5060 --seconds "$seconds" --overload "$@" > "$folder/figures" \
        || { cat "$folder/figures" >&2; exit 1; }
}

figure() {
    awk -v name="$1" '$1 == name { print $2 }' "$folder/figures"
}

# Where calls and datagrams were lost: at the generator, and by the program's own counts.
losses() {
    echo "  the generator: $(figure refused) refused ($(figure refused_503) by 503), $(figure failed) failed," \
        "$(figure sent_again) sent again, $(figure came_again) came again, $(figure unsent) unsent," \
        "$(figure overflowed) lost for want of room, at most $(figure lag_us) us late"
    curl -s --max-time 5 http://127.0.203.1:9160/metrics | awk '
        $2 > 0 && $1 ~ /^switchyard_(udp_overflowed|udp_filtered|send_failed|icmp|dropped|refused|limits_reached|retransmitted|warnings|panics)/ {
            sub(/^switchyard_/, "", $1); print "  the program: " $1 " " $2
        }'
}

missed=0
holds() {
    if awk "BEGIN { exit !($2) }"; then echo "  holds:  $1"; else echo "  MISSED: $1"; missed=1; fi
}

start kernel
calls --find-highest --rate 1000
highest=$(figure highest_rate)
echo "the highest rate that is carried: $highest calls/s"

start kernel
calls --rate $((highest * 2)) --settle-seconds 40
completed=$(figure completed)
echo "at twice that: $((completed / seconds)) completed/s, $(figure refused) refused, $(figure failed) failed"
losses
holds "at least 90 % of the highest rate is completed" "$completed >= 0.9 * $highest * $seconds"

half=$((highest / 2)) tenfold=$((highest * 10))
for strangers in kernel log; do
    start "$strangers"
    calls --rate "$half"
    alone=$(figure answered_p99_us)
    losses
    taskset -c 1 chrt --idle 0 "$flood" 127.0.203.66:5060 127.0.203.1:5060 "$tenfold" $((seconds + 1)) \
        > "$folder/flooded" &
    flood_pid=$!
    calls --rate "$half"
    wait "$flood_pid"
    echo "strangers = $strangers: $(awk '$1 == "per_second" { print $2 }' "$folder/flooded") datagrams/s of strangers," \
        "$(figure completed) of $(figure begun) completed, p99 $alone us alone, $(figure answered_p99_us) us beside them"
    losses
    if [ "$strangers" = kernel ]; then
        flooded=$(awk '$1 == "per_second" { print $2 }' "$folder/flooded")
        holds "the strangers sent nine tenths of what they should at least" "$flooded >= 0.9 * $tenfold"
        holds "the generator took all that was sent to it" "$(figure overflowed) == 0"
        holds "99.99 % of the calls succeed" "$(figure completed) >= 0.9999 * $(figure begun)"
        holds "the added p99 is at most 10 ms" "$(figure answered_p99_us) <= $alone + 10000"
    fi
done
exit "$missed"

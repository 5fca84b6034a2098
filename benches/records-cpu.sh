#!/bin/bash
# The processor's time per call of the whole program, kernel included: with metrics, records and journal as they are by
# default, and with captures to a HEP server beside, against a program that keeps nothing. benches/README.md says how.
#
#   benches/records-cpu.sh [PROGRAM] [CALLS_PER_SECOND] [SECONDS] [ROUNDS]
#
# Captures go over TCP, many in one write, and over UDP, a datagram each. Needs sqlite3 and curl, and target/release/load
# and sink. Everything runs on 127.0.204.1 to .5 and .9, in a folder that is
# removed; the program has a core of its own. Exits with 1 when a goal is missed.
set -euo pipefail

program=$(realpath "${1:-target/release/switchyard}")
rate=${2:-3000}
seconds=${3:-20}
rounds=${4:-5}
root=$(cd "$(dirname "$0")/.." && pwd)
load="$root/target/release/load" sink="$root/target/release/sink"
# What is added at most, in parts of a hundred.
goal_on=5 goal_hep=15
folder=$(mktemp -d)
proxy_pid='' sink_pid='' scraper_pid=''

end() {
    for pid in $scraper_pid $proxy_pid $sink_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    proxy_pid='' sink_pid='' scraper_pid=''
}
trap 'end; rm -rf "$folder"' EXIT

# The numbers that the generator calls: 10,000 in a row.
. "$root/benches/many-dids.sh"
many_dids "$folder/directory.db" 10000

# What is kept and told.
tables_of() {
    case $1 in
    off) printf '[records]\nfiles = false\njournal_calls = 0\n' ;;
    on) printf '[metrics]\nlisten = "127.0.204.1:9160"\n' ;;
    hep-*)
        printf '[metrics]\nlisten = "127.0.204.1:9160"\n[capture]\nhep = "%s:127.0.204.9:9060"\nenabled = true\n' "${1#hep-}"
        ;;
    esac
}

# Scrapes as deploy/prometheus/scrape.yml does, until it is ended.
scrape() {
    while sleep 5; do
        curl -sS -o "$folder/scrape" http://127.0.204.1:9160/metrics || exit 1
    done
}

figure() {
    awk -v name="$1" '$1 == name { print $2 }' "$folder/figures"
}

# Runs all calls once; leaves microseconds per call in `per_call`.
one_run() {
    local profile=$1 captured
    rm -rf "$folder/state" && mkdir "$folder/state"
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
[probe]
interval = "0s"
[database]
url = "sqlite://$folder/directory.db"
$(tables_of "$profile")
TOML
    if [ "${profile#hep-}" != "$profile" ]; then
        taskset -c 1 "$sink" "${profile#hep-}:127.0.204.9:9060" > "$folder/received" &
        sink_pid=$!
    fi
    env -u ASTRADIAL_ENV RUST_LOG=error taskset -c 0 "$program" run --config "$folder/switchyard.toml" \
        > "$folder/log" 2>&1 &
    proxy_pid=$!
    serves_many_dids "$program" "$folder" "$proxy_pid" 10000
    if [ "$profile" != off ]; then
        scrape &
        scraper_pid=$!
    fi
    taskset -c 1 "$load" --proxy 127.0.204.1:5060 --gateway 127.0.204.2:5060 --prod 127.0.204.3:5060 \
        --staging 127.0.204.4:5060 --oss 127.0.204.5:5060 --rate "$rate" --seconds "$seconds" --pid "$proxy_pid" \
        > "$folder/figures" || { cat "$folder/figures" >&2; exit 1; }
    per_call=$(figure cpu_us_per_call)
    # What was to be kept was kept: a profile that loses things measures nothing.
    sleep 2
    case $profile in
    off) [ ! -e "$folder/state/calls" ] || { echo "records were written" >&2; exit 1; } ;;
    *)
        local records lost
        records=$(cat "$folder"/state/calls/*.jsonl | wc -l)
        lost=$(curl -sS http://127.0.204.1:9160/metrics | awk '/^switchyard_(call_record.*lost|call_journal_lost|hep_messages_total.*lost)/ { n += $NF } END { print n + 0 }')
        [ "$records" = "$(figure begun)" ] && [ "$lost" = 0 ] \
            || { echo "$profile: $records records of $(figure begun) calls, $lost things lost" >&2; exit 1; }
        ;;
    esac
    if [ "${profile#hep-}" != "$profile" ]; then
        # A call is eleven messages and more. What the server's own buffer has no room for is not the program's cost.
        captured=$(curl -sS http://127.0.204.1:9160/metrics | awk '/^switchyard_hep_messages_total.*sent/ { print $NF }')
        [ "$captured" -ge $((11 * $(figure begun))) ] || { echo "only $captured captures were sent" >&2; exit 1; }
        echo "  $captured captures sent, $(tail -1 "$folder/received")"
    fi
    end
}

for round in $(seq "$rounds"); do
    for profile in off on hep-tcp hep-udp; do
        one_run "$profile"
        echo "round $round, $profile: $per_call us of CPU per call"
        echo "$per_call" >> "$folder/$profile.figures"
    done
done

# Least, median and most.
figures_of() {
    sort -n "$folder/$1.figures" | awk '{ all[NR] = $1 } END { print all[1], all[int((NR + 1) / 2)], all[NR] }'
}
read -r off_least off_median off_most < <(figures_of off)
echo "$((rate * seconds)) calls at $rate/s, $rounds rounds each, us of CPU per call (min, median, max):"
echo "  nothing kept:                    $off_least $off_median $off_most"
missed=0
for profile in on hep-tcp hep-udp; do
    read -r least median most < <(figures_of "$profile")
    case $profile in
    on) name='metrics, records and journal:  ' goal=$goal_on ;;
    hep-tcp) name='the same, and HEP over TCP:    ' goal=$goal_hep ;;
    hep-udp) name='the same, and HEP over UDP:    ' goal=$goal_hep ;;
    esac
    echo "  $name $least $median $most"
    awk -v a="$off_median" -v b="$median" -v c="$off_least" -v d="$least" -v goal="$goal" 'BEGIN {
        added = (b / a - 1) * 100
        printf "    added: %+.1f %% (medians), %+.1f %% (least); the goal is at most %d %%: %s\n",
            added, (d / c - 1) * 100, goal, added <= goal ? "holds" : "MISSED"
        exit added > goal
    }' || missed=1
done
exit "$missed"

#!/bin/bash
# The processor's time per outbound call of the whole program, kernel included: with the caller ID rewritten, against the
# same call left alone. benches/README.md says how.
#
#   benches/caller-id-cpu.sh [PROGRAM] [CALLS_PER_SECOND] [SECONDS] [ROUNDS]
#
# Needs sipp and sqlite3. Everything runs on 127.0.201.1 (proxy), .2 (gateway) and .3 (PBX), in a folder that is removed.
set -euo pipefail

program=${1:-target/release/switchyard}
rate=${2:-500}
seconds=${3:-30}
rounds=${4:-3}
root=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath "$program")
calls=$((rate * seconds))
folder=$(mktemp -d)
proxy_pid='' callee_pid=''

end() {
    for pid in $proxy_pid $callee_pid; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    proxy_pid='' callee_pid=''
}
trap 'end; rm -rf "$folder"' EXIT

sqlite3 "$folder/directory.db" < "$root/fixtures/directory/sqlite.sql"
sqlite3 "$folder/directory.db" < "$root/fixtures/directory/rows.sql"
# A known user calls; a ringing that a full buffer has lost is no failure.
sed -e 's/<sip:+447700900123@/"Asha" <sip:org_a1b2c3d4_1001@/' -e 's/response="180"/response="180" optional="true"/' \
    "$root/fixtures/sipp/call.caller.xml" > "$folder/caller.xml"

# What the trunk's table says of the caller ID.
trunk_of() {
    case $1 in
    pass) echo 'caller_id = "pass"' ;;
    rewrite) echo 'fallback_did = "+918065080729"' ;;
    esac
}

# User and system time of a process, in microseconds.
spent_us() {
    local fields ticks
    fields=$(sed 's/.*) //' "/proc/$1/stat")
    ticks=$(echo "$fields" | awk '{ print $12 + $13 }')
    echo $((ticks * 1000000 / $(getconf CLK_TCK)))
}

# Runs all calls once; leaves microseconds per call in `per_call`.
one_run() {
    local profile=$1 before after
    rm -rf "$folder/state" && mkdir "$folder/state"
    cat > "$folder/switchyard.toml" <<TOML
state_dir = "$folder/state"
[sip]
listen = ["udp:127.0.201.1:5060"]
[[trunk]]
name = "tata"
gateways = ["udp:127.0.201.2:5060"]
$(trunk_of "$profile")
[environments.prod]
targets = ["udp:127.0.201.3:5060"]
[metrics]
listen = "127.0.201.1:9160"
[database]
url = "sqlite://$folder/directory.db"
TOML
    env -u ASTRADIAL_ENV -u RUST_LOG "$program" run --config "$folder/switchyard.toml" > "$folder/log" 2>&1 &
    proxy_pid=$!
    for _ in $(seq 200); do
        grep -q 'switchyard serves' "$folder/log" && break
        kill -0 "$proxy_pid" 2>/dev/null || break
        sleep 0.1
    done
    grep -q 'switchyard serves' "$folder/log" || { cat "$folder/log" >&2; exit 1; }
    (cd "$folder" && exec sipp -sf "$root/fixtures/sipp/call.callee.xml" -i 127.0.201.2 -p 5060 -nostdin) \
        > "$folder/callee" 2>&1 &
    callee_pid=$!
    sleep 1
    before=$(spent_us "$proxy_pid")
    (cd "$folder" && sipp -sf caller.xml -i 127.0.201.3 -p 5060 -s +447700900456 -r "$rate" -m "$calls" -d 100 \
        -l "$((rate * 20))" -nostdin 127.0.201.1:5060) > "$folder/caller" 2>&1 \
        || { tail -40 "$folder/caller" >&2; exit 1; }
    after=$(spent_us "$proxy_pid")
    end
    per_call=$(awk -v spent=$((after - before)) -v calls="$calls" 'BEGIN { printf "%.1f", spent / calls }')
}

for round in $(seq "$rounds"); do
    for profile in pass rewrite; do
        one_run "$profile"
        echo "round $round, $profile: $per_call us of CPU per call"
        echo "$per_call" >> "$folder/$profile.figures"
    done
done

# Least, median and most.
figures_of() {
    sort -n "$folder/$1.figures" | awk '{ all[NR] = $1 } END { print all[1], all[int((NR + 1) / 2)], all[NR] }'
}
read -r pass_least pass_median pass_most < <(figures_of pass)
read -r rewrite_least rewrite_median rewrite_most < <(figures_of rewrite)
echo "$calls calls at $rate/s, $rounds rounds each, us of CPU per call (min, median, max):"
echo "  left alone: $pass_least $pass_median $pass_most"
echo "  rewritten:  $rewrite_least $rewrite_median $rewrite_most"
awk -v a="$pass_median" -v b="$rewrite_median" -v c="$pass_least" -v d="$rewrite_least" \
    'BEGIN { printf "  added: %+.1f %% (medians), %+.1f %% (least)\n", (b / a - 1) * 100, (d / c - 1) * 100 }'

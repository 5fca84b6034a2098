#!/usr/bin/env bash
# Puts a version that ship.sh has brought in force on this machine, tries it with a call, and takes it back if that fails.
# The state folder is left as it is: calls that are up need the keys in it, whatever version serves.
#
#   bash release.sh REVISION
#
# Versions are in releases/ under SWITCHYARD_ROOT; `current` is a link to the one in force. SWITCHYARD_CONFIG is the
# configuration. release.env under SWITCHYARD_ROOT says which call is placed.
# Exit code: 0 in force, 2 refused and nothing was changed, 3 taken back and the version before serves, 4 neither serves.
set -euo pipefail

root=${SWITCHYARD_ROOT:-/opt/switchyard}
config=${SWITCHYARD_CONFIG:-/etc/switchyard/switchyard.toml}
unit=switchyard.service
# How long a version may take until it says that calls are served as they should be.
healthy_within_s=60
# How many versions stay on the machine.
kept=5

told() {
    # Whoever reads it may be gone: that ends nothing.
    printf 'release: %s\n' "$*" || :
}

as_root() {
    if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi
}

refuse() {
    told "$*; nothing was changed" >&2
    exit 2
}

# The whole of it before the switch: what is seen now costs no call.
examine() {
    [[ -x $release/switchyard ]] || refuse "$release holds no program"
    (cd "$release" && sha256sum --check --quiet SHA256SUMS) || refuse "$release is not what was built"
    "$release/switchyard" check --config "$config" >/dev/null || refuse "$revision refuses $config"
    # What was not well before is no fault of this version.
    was_well=yes
    if [[ -n $before ]] && ! "$release/switchyard" health --config "$config" >/dev/null 2>&1; then
        was_well=no
        told "calls are not served as they should be even now: the smoke call alone decides"
    fi
}

# Whether this version says that it serves: as it should, or at all where it was not well before.
is_well() {
    "$1" health --config "$config" 2>&1 || { [[ $was_well == no ]] && "$1" status --config "$config" 2>&1; }
}

# Restarts the service with this version: what runs drains first, within limits.drain_limit. In one chain: where it is asked
# whether this went well, the shell does not stop at the first failure by itself.
put_in_force() {
    ln -sfn "releases/$1" "$root/current.new" &&
        mv -T "$root/current.new" "$root/current" &&
        # A version that ended again and again may have used up the starts that the unit allows.
        as_root systemctl reset-failed "$unit" &&
        as_root systemctl restart "$unit"
}

# Whether this version says that all is well, and carries a call.
serves() {
    local program=$root/releases/$1/switchyard deadline=$((SECONDS + healthy_within_s)) answer
    until answer=$(is_well "$program"); do
        if ((SECONDS >= deadline)); then
            printf '%s\n' "$answer" >&2
            return 1
        fi
        sleep 0.2
    done
    "$program" smoke --config "$config" --from "$SMOKE_FROM" --environment "$SMOKE_ENVIRONMENT" "$SMOKE_NUMBER"
}

# The newest stay; never one that is in force, or that was before this.
prune() {
    local name
    while read -r name; do
        if [[ $name != "$revision" && $name != "$before" ]]; then
            rm -rf -- "${root:?}/releases/$name"
        fi
    done < <(find "$root/releases" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %f\n' | sort -rn | tail -n "+$((kept + 1))" | cut -d ' ' -f 2-)
}

main() {
    # A connection that breaks in the middle must not keep a bad version in force.
    trap '' PIPE HUP
    revision=${1:?the revision is missing}
    release=$root/releases/$revision
    exec 9>"$root/lock"
    flock --nonblock 9 || refuse "another release is under way"
    [[ -r $root/release.env ]] || refuse "$root/release.env is missing: it says which call is placed"
    # shellcheck disable=SC1091 # It is the machine's own.
    source "$root/release.env"
    : "${SMOKE_FROM:?}" "${SMOKE_ENVIRONMENT:?}" "${SMOKE_NUMBER:?}"
    before=$(basename "$(readlink "$root/current" || true)")
    touch "$release"
    examine

    told "$revision instead of ${before:-nothing}"
    if put_in_force "$revision" && serves "$revision"; then
        prune
        told "$revision is in force"
        exit 0
    fi
    if [[ -z $before || $before == "$revision" ]]; then
        told "$revision does not serve, and there is no other version to go back to" >&2
        exit 4
    fi
    told "$revision does not serve: back to $before" >&2
    if put_in_force "$before" && serves "$before"; then
        told "$before is in force again" >&2
        exit 3
    fi
    told "$before does not serve either: journalctl -u $unit" >&2
    exit 4
}

# It arrives on standard input: read to its end before anything else reads from there.
main "$@" </dev/null

#!/usr/bin/env bash
# Brings a folder of build.sh to a machine, beside the versions that are there, and runs release.sh on it. Nothing of the
# pipeline is installed there: the script goes over with each release.
#
#   deploy/github/scripts/ship.sh FOLDER HOST
#
# HOST is a name of the runner's ~/.ssh/config, which says the account and the key. SHIP_KEY is a private key in place of
# that one, as the platform hands it to a run that was approved. SHIP_SSH is the command, ssh unless given; SHIP_ROOT is
# where versions are kept on the machine.
# Exit code: that of release.sh, or 1 when the machine was not reached.
set -euo pipefail

folder=${1:?the folder of build.sh is missing}
host=${2:?the host is missing}
root=${SHIP_ROOT:-/opt/switchyard}
revision=$(basename "$folder")
scripts=$(dirname "${BASH_SOURCE[0]}")

# Nobody is there to answer a question: an unknown host or a key with a password is a failure.
ssh="${SHIP_SSH:-ssh} -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15"
if [[ -n ${SHIP_KEY:-} ]]; then
    # It is a file for as long as this runs, and in nobody else's environment.
    key=$(mktemp)
    trap 'rm -f "$key"' EXIT
    printf '%s\n' "$SHIP_KEY" >"$key"
    unset SHIP_KEY
    ssh+=" -i $key -o IdentitiesOnly=yes"
fi
read -r -a remote <<<"$ssh"

if [[ ! $revision =~ ^[0-9A-Za-z._-]+$ ]]; then
    printf 'ship: found the revision %q, expected letters, digits, dot, dash and underscore\n' "$revision" >&2
    exit 1
fi

"${remote[@]}" "$host" mkdir -p "$root/releases" </dev/null || exit 1
rsync --archive --no-owner --no-group --checksum --delay-updates --rsh "$ssh" "$folder/" "$host:$root/releases/$revision/" || exit 1

outcome=0
"${remote[@]}" "$host" "SWITCHYARD_ROOT=$root bash -s -- $revision" <"$scripts/release.sh" || outcome=$?
# 255 is ssh's own: the line broke, and what the machine does is not known here.
if ((outcome == 255)); then
    printf 'ship: the line to %s broke; look there: readlink %s/current, systemctl status switchyard\n' "$host" "$root" >&2
    exit 1
fi
exit "$outcome"

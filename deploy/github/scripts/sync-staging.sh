#!/usr/bin/env bash
# Brings the branch staging to where main is, by a fast-forward alone. What staging has and main has not is somebody's
# work: then nothing is pushed.
#
#   deploy/github/scripts/sync-staging.sh [REMOTE]
set -euo pipefail

remote=${1:-origin}
git fetch --quiet "$remote" "+refs/heads/main:refs/remotes/$remote/main" "+refs/heads/staging:refs/remotes/$remote/staging"
if ! git merge-base --is-ancestor "$remote/staging" "$remote/main"; then
    printf 'sync-staging: staging has commits that main has not; nothing was pushed:\n' >&2
    git log --oneline "$remote/main..$remote/staging" >&2
    exit 1
fi
git push --quiet "$remote" "refs/remotes/$remote/main:refs/heads/staging"
printf 'staging is at %s\n' "$(git rev-parse --short=12 "$remote/main")"

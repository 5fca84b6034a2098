#!/usr/bin/env bash
# Fails unless the branch staging has had the commit that is checked out: nothing goes to prod that was never tried.
#
#   deploy/github/scripts/came-by-staging.sh [REMOTE]
set -euo pipefail

remote=${1:-origin}
git fetch --quiet "$remote" "+refs/heads/staging:refs/remotes/$remote/staging"
if ! git merge-base --is-ancestor HEAD "$remote/staging"; then
    printf 'came-by-staging: %s was never on staging: run sync-staging first\n' "$(git rev-parse --short=12 HEAD)" >&2
    exit 1
fi

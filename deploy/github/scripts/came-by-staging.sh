#!/usr/bin/env bash
# Fails unless the staging machine serves the commit that is checked out, or served it until the next one came: nothing goes
# to prod that was never tried, and nothing that was tried and taken back. staging-served.sh has noted it.
#
#   deploy/github/scripts/came-by-staging.sh [REMOTE]
set -euo pipefail

remote=${1:-origin}
commit=$(git rev-parse HEAD)
short=$(git rev-parse --short=12 HEAD)
git fetch --quiet "$remote" "+refs/heads/staging:refs/remotes/$remote/staging"
if ! git merge-base --is-ancestor HEAD "$remote/staging"; then
    printf 'came-by-staging: %s was never on staging: run sync-staging first\n' "$short" >&2
    exit 1
fi
# The tag's name and what it leads to: both have to be this commit.
noted=$(git ls-remote "$remote" "refs/tags/served-on-staging/$commit")
if [[ $noted != "$commit"$'\t'* ]]; then
    printf 'came-by-staging: %s was on staging and is not noted as served there: its run of the workflow staging says why\n' "$short" >&2
    exit 1
fi

#!/usr/bin/env bash
# Notes in the repository whether the staging machine serves the commit that is checked out: a tag by the commit's whole
# name. The last word counts: a commit that was taken back has none.
#
#   deploy/github/scripts/staging-served.sh yes|no [REMOTE]
set -euo pipefail

answer=${1:?yes or no is missing}
remote=${2:-origin}
commit=$(git rev-parse HEAD)
tag=refs/tags/served-on-staging/$commit

case $answer in
yes)
    git push --quiet --force "$remote" "HEAD:$tag"
    printf 'staging serves %s\n' "$(git rev-parse --short=12 HEAD)"
    ;;
no)
    if [[ -n $(git ls-remote "$remote" "$tag") ]]; then
        git push --quiet --delete "$remote" "$tag"
    fi
    printf 'staging does not serve %s\n' "$(git rev-parse --short=12 HEAD)"
    ;;
*)
    printf 'staging-served: found %q, expected yes or no\n' "$answer" >&2
    exit 1
    ;;
esac

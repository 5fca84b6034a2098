#!/usr/bin/env bash
# Tests the checkout, builds it with optimisation, and leaves what is shipped in a folder that is named by the commit:
# the program and its checksum. Tells the folder on its last line, and to the workflow.
#
#   deploy/github/scripts/build.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

cargo xtask test
cargo build --release --bin switchyard

target=${CARGO_TARGET_DIR:-target}
revision=$(git rev-parse --short=12 HEAD)
folder=$target/ship/$revision
mkdir -p "$folder"
install -m 0755 "$target/release/switchyard" "$folder/switchyard"
(cd "$folder" && sha256sum switchyard >SHA256SUMS)

if [[ -n ${GITHUB_OUTPUT:-} ]]; then
    printf 'folder=%s\n' "$folder" >>"$GITHUB_OUTPUT"
fi
printf '%s\n' "$folder"

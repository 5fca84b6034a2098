#!/bin/sh
# systemctl of a machine of the lab: hands its words to the test's supervisor, and ends as that says.
set -eu
folder=$(dirname "$0")
printf '%s\n' "$*" >"$folder/asked"
read -r code <"$folder/answered"
exit "$code"

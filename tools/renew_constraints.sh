#!/usr/bin/env bash
# Writes tests/constraints.txt: the versions of everything that the tests and the static checks install, as pip chooses
# them today for CPython 3.11 on Linux, which CI uses.
#
#   tools/renew_constraints.sh
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3.11 -m venv "$work/venv"
unset PIP_CONSTRAINT
# hatchling builds the package, in an environment of its own that the constraints hold for, too.
"$work/venv/bin/pip" install --quiet '.[dev]' hatchling

{
    echo "# Made by tools/renew_constraints.sh on Linux with CPython 3.11; do not edit."
    "$work/venv/bin/pip" freeze --exclude runbook-runner
} >"$work/constraints.txt"
if grep -vE '^#|^[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*$' "$work/constraints.txt"; then
    echo "renew_constraints.sh: the lines above are not of the form name==version" >&2
    exit 1
fi
mv "$work/constraints.txt" tests/constraints.txt
git --no-pager diff --stat -- tests/constraints.txt

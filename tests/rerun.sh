#!/usr/bin/env bash
# Runs the tests; those that failed run once more, alone, at the end. A test that passes then is named: `flaky: NODEID`.
#
#   tests/rerun.sh COMMAND     COMMAND: a line for bash that runs pytest, in the folder of the tests
#
# Ends with 0 when each test passed at least once. Nothing runs again when pytest did not come to its end, when a
# process of it crashed, and when more than MAX_FLAKY tests failed.
set -euo pipefail

MAX_FLAKY=10
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

status=0
PYTEST_ADDOPTS="${PYTEST_ADDOPTS:-} -o cache_dir=$work/cache" bash -euo pipefail -c "$1" 2>&1 \
    | tee "$work/output" || status=$?

failed=$work/cache/v/cache/lastfailed
if [ $status != 1 ] || [ ! -f "$failed" ] || grep -q "^=* xdist: worker .* crashed" "$work/output"; then
    exit $status
fi

# pytest-xdist adds the group of a test to its id: `test_x.py::test_y[z]@group`.
mapfile -t tests < <(python3 -c '
import json, re, sys
print(*(re.sub(r"@[^]]*$", "", test) for test in sorted(json.load(open(sys.argv[1])))), sep="\n")' "$failed")
if [ ${#tests[@]} -gt $MAX_FLAKY ]; then exit $status; fi

echo "+ ${#tests[@]} failed: once more, alone"
pytest -n 0 -o cache_dir="$work/again" "${tests[@]}"
printf 'flaky: %s\n' "${tests[@]}"

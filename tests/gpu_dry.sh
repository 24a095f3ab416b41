#!/usr/bin/env bash
# tests/gpu.sh where there is no GPU: each part says that it is skipped and why, and the record is
# whole. So the script itself has run before a GPU is there.
#
#     gpu_dry.sh BUILD_FOLDER        77: this machine has a CUDA device
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
status=0
THAW_BUILD=$1 THAW_PARTS=none "$here/gpu.sh" "$out/probe" >/dev/null 2>&1 || status=$?
[ "$status" != 0 ] || {
    echo "SKIPPED: gpu_dry: this machine has a CUDA device: run tests/gpu.sh"
    exit 77
}
status=0
THAW_BUILD=$1 "$here/gpu.sh" "$out" >"$out/table" 2>"$out/said" || status=$?
failed=0
fail() {
    echo "FAILED: $*"
    failed=$((failed + 1))
}
[ "$status" = 77 ] || fail "exit status $status, 77 expected: $(tail -n 1 "$out/said")"
parts=0
for part in $(sed -n 's/^parts="\(.*\)"/\1/p' "$here/gpu.sh"); do
    parts=$((parts + 1))
    grep -q "^- ${part%:*}: skipped after [0-9]* s: no CUDA device: " "$out"/*.md ||
        fail "${part%:*}: the record does not say that it was skipped, and why"
done
python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$out"/*.json || fail "the record is no JSON"
echo "gpu_dry: $parts parts, $failed failed"
[ "$failed" -eq 0 ] && [ "$parts" -gt 0 ]

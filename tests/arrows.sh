#!/usr/bin/env bash
# The arrows between rooms run down only: each room includes headers of the rooms that stand behind
# it here, and of base/ and kernels/, which include paths keep below. Prints each file that breaks
# this, and rooms that are not in the table.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A below=(
    [engine/graph]=""
    [engine/cache]=""
    [engine/trunk]="graph"
    [engine/top]="graph trunk"
    [engine/onnx]="graph top"
    [host/options]="trunk top onnx picture"
    [host/picture]=""
    [host/data]="options"
    [host/model]="graph trunk top onnx options picture"
    [host/report]="top picture"
    [host/container]="" # No sources: how the image is made.
    [host/run]="graph trunk cache top onnx options picture data model report"
    [host/fetch]="options data model"
    [host/lint]="graph trunk cache top onnx options picture data model report run"
    [host/serve]="graph trunk top onnx options picture model run"
    [host/sagemaker]="cache top options picture data model run serve"
    [host/commands]="graph trunk cache top onnx options picture data model report run lint fetch serve sagemaker"
)

wrong=0 rooms=0
for folder in engine/*/ host/*/; do
    room=${folder%/}
    compgen -G "$room/*.[ch]" >/dev/null || continue # host/container/ holds no C.
    rooms=$((rooms + 1))
    [ "${below[$room]+known}" ] || {
        echo "$room is not in the table of tests/arrows.sh"
        wrong=$((wrong + 1))
        continue
    }
    while IFS=: read -r file line other; do
        [[ " ${below[$room]} ${room#*/} " == *" $other "* ]] && continue
        echo "$file:$line: $room must not use $other"
        wrong=$((wrong + 1))
    done < <(grep -rnoE '^#include "[a-z]+/' "$room" | sed 's/#include "//; s,/$,,')
done
echo "arrows.sh: $rooms rooms, $wrong wrong"
[ "$wrong" -eq 0 ]

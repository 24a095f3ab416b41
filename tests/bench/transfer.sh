#!/usr/bin/env bash
# What a network that has seen other pictures is worth: the demo's eight species, told apart from 10, 40
# and 160 training pictures of each, from scratch and with the base CNN frozen up to several cuts.
#
#     tests/bench/transfer.sh BUILD WORK [MODEL]
#
# BUILD: where thaw and thaw-draw are. WORK: a folder for pictures, cache and runs; a run that is there is
# not made again. MODEL: datasets/flower_or_not.onnx, or another one for 96 x 96 pictures. Every option of
# training has its default. Prints a table of top-1 on the same 240 test pictures.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath "$1")
mkdir -p "$2"
work=$(realpath "$2")
model=${3:-$root/datasets/flower_or_not.onnx}
sizes=(10 40 160)
# What a row is called, and the options that make it.
ways=("the head alone|--freeze=last" "lp_ft above stage3|--freeze=stage3"
    "lp_ft above stage2|--freeze=stage2" "from scratch|--freeze=none --init=random")

for n in "${sizes[@]}"; do
    [ -d "$work/d$n" ] || "$build/thaw-draw" demo8 "$work/d$n" "$n" 30 96 7
done

printf '| pictures a class |'
printf ' %s |' "${sizes[@]}"
printf '\n|---|---|---|---|\n'
for way in "${ways[@]}"; do
    IFS='|' read -r name options <<<"$way"
    printf '| %s |' "$name"
    for n in "${sizes[@]}"; do
        run="$work/run-$n-${options//[^a-z0-9]/}"
        # shellcheck disable=SC2086 # Options are words.
        [ -f "$run/metrics.json" ] ||
            "$build/thaw" train --model="$model" --data.train="$work/d$n" --out="$run" \
                --cache.dir="$work/cache" --log=warn $options >/dev/null
        printf ' %.3f |' "$(sed -n 's/^ "top1": \([0-9.]*\),$/\1/p' "$run/metrics.json")"
    done
    printf '\n'
done

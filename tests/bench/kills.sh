#!/usr/bin/env bash
# Kills a training again and again at moments drawn by chance, pictures and training alike, goes on with
# --resume, and compares what comes out with a run that nobody disturbed.
#
# usage: kills.sh THAW THAW-DRAW MODEL [KILLS [SEED [OPTION...]]]
#
# A trial begins with an empty cache, is killed (SIGKILL and SIGTERM in turn) at a moment within the time
# of a whole run, and resumed; a resumed run is killed again with one chance in two. Prints a line a trial
# and ends with 1 where a file of the bundle differs.
set -euo pipefail
thaw=$(realpath "$1") draw=$(realpath "$2") model=$(realpath "$3")
kills=${4:-20}
RANDOM=${5:-1}
shift $(($# < 5 ? $# : 5))
options=("$@")
[ ${#options[@]} -gt 0 ] || options=(--freeze=stage2 --top.epochs=6 --epochs=10)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$draw" demo8 pics 24 2 160 7 >/dev/null

words() { # OUT
    echo "train --model=$model --data.train=pics --cache.dir=cache --out=$1 --log=error --seed=3" \
        "--checkpoint.dir=kept --checkpoint.minutes=0.005 ${options[*]}"
}

# What a run leaves, without the times and places in it.
digest() { sha256sum <"$1/model.onnx" | cut -c1-16; }

start=$(date +%s%N)
# shellcheck disable=SC2046
"$thaw" $(words whole) >/dev/null
whole_ms=$((($(date +%s%N) - start) / 1000000))
want=$(digest whole)
echo "undisturbed: $whole_ms ms, model $want"

wrong=0
for ((trial = 1; trial <= kills; )); do
    rm -rf cache kept run
    said=""
    while :; do
        # shellcheck disable=SC2046
        "$thaw" $(words run) --resume >/dev/null 2>err &
        pid=$!
        if [ -z "$said" ] || { [ $((RANDOM % 2)) -eq 0 ] && [ "$trial" -le "$kills" ]; }; then
            ms=$((whole_ms * (RANDOM % 1000) / 1000))
            signal=$((trial % 2 ? 9 : 15))
            sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
            if kill -$signal $pid 2>/dev/null; then
                said+=" $ms ms (signal $signal)"
                trial=$((trial + 1))
            fi
        fi
        if { wait $pid; } 2>/dev/null; then break; fi
        grep -q "thaw:" err && ! grep -q "interrupted\|stopped" err && cat err >&2 && exit 1
    done
    [ -n "$said" ] || continue
    got=$(digest run)
    [ "$got" = "$want" ] || wrong=$((wrong + 1))
    echo "killed after$said: model $got$([ "$got" = "$want" ] || echo ', which differs')"
done
echo "$((trial - 1)) kills, $wrong runs that differ"
[ "$wrong" -eq 0 ]

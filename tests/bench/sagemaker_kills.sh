#!/usr/bin/env bash
# A SageMaker job on spot instances: killed (SIGKILL and SIGTERM in turn) at a moment drawn by chance, again
# and again, started anew with nothing but BASE/checkpoints, and compared in the end with one that nobody
# disturbed.
#
# usage: sagemaker_kills.sh THAW THAW-DRAW MODEL [KILLS [SEED [HYPERPARAMETERS]]]
#
# Prints a line a trial, and ends with 1 where a model differs or a job says that it has failed.
set -euo pipefail
thaw=$(realpath "$1") draw=$(realpath "$2") model=$(realpath "$3")
kills=${4:-20}
RANDOM=${5:-1}
hyperparameters=${6:-'{"freeze":"stage2","epochs":"10","checkpoint.minutes":"0.005"}'}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$draw" demo8 pics 24 2 160 7 >/dev/null
export SAGEMAKER_BASE_DIR=$folder/ml

lay_out() {
    rm -rf ml
    mkdir -p ml/input/config ml/input/data/model ml/model ml/output/data ml/checkpoints
    ln -s "$folder/pics/train" ml/input/data/train
    ln -s "$folder/pics/test" ml/input/data/validation
    ln -s "$model" ml/input/data/model/model.onnx
    echo "$hyperparameters" >ml/input/config/hyperparameters.json
    echo '{"train":{},"validation":{},"model":{}}' >ml/input/config/inputdataconfig.json
}

# What an endpoint gets, without the times and places in it.
digest() { cat ml/model/model.onnx ml/model/golden/* | sha256sum | cut -c1-16; }

lay_out
start=$(date +%s%N)
"$thaw" train >out 2>err || { cat err >&2 && exit 1; }
whole_ms=$((($(date +%s%N) - start) / 1000000))
want=$(digest)
echo "undisturbed: $whole_ms ms, model $want"

wrong=0 slowest_ms=0
for ((trial = 1; trial <= kills; )); do
    lay_out
    said=""
    while :; do
        "$thaw" train >out 2>err &
        pid=$!
        if [ -z "$said" ] || { [ $((RANDOM % 2)) -eq 0 ] && [ "$trial" -le "$kills" ]; }; then
            ms=$((whole_ms * (RANDOM % 1000) / 1000))
            signal=$((trial % 2 ? 9 : 15))
            sleep "$(printf '%d.%03d' $((ms / 1000)) $((ms % 1000)))"
            told=$(date +%s%N)
            if kill -$signal $pid 2>/dev/null; then
                said+=" $ms ms (signal $signal)"
                trial=$((trial + 1))
            fi
        fi
        code=0
        { wait $pid; } 2>/dev/null || code=$?
        took=$((($(date +%s%N) - told) / 1000000))
        [ $code -eq 143 ] && [ $took -gt $slowest_ms ] && slowest_ms=$took
        rm -rf ml/thaw.work # The machine is gone.
        [ ! -e ml/output/failure ] || { cat ml/output/failure >&2 && exit 1; }
        [ $code -ne 0 ] || break
        [ $code -eq 137 ] || [ $code -eq 143 ] || { cat err >&2 && exit 1; }
    done
    [ -n "$said" ] || continue
    got=$(digest)
    [ "$got" = "$want" ] || wrong=$((wrong + 1))
    echo "killed after$said: model $got$([ "$got" = "$want" ] || echo ', which differs')"
done
echo "$((trial - 1)) kills, $wrong models that differ; a stopped job took at most $slowest_ms ms to end"
[ "$wrong" -eq 0 ]

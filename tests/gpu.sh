#!/usr/bin/env bash
# Proves the CUDA backend on a machine with a GPU, and measures it: one command, at most 8 minutes.
#
#     tests/gpu.sh [OUT]       OUT: folder for the record; default tests/bench/results
#
# Works from the source tree with a build (THAW_BUILD, default build/) and from an unpacked kit (the
# target gpu-kit). A part that fails or runs out of its time does not stop the others; a part that
# cannot run says why. Leaves OUT/DATE-GPU.json and .md, prints the table last.
#
#     THAW_PARTS="tests kernels"    only these parts, of those at the end of this file
#     THAW_SECONDS=470              for the whole
#     THAW_DEVICE=cuda:1            on another GPU
#     THAW_KIT_MODEL, THAW_KIT_DATA a model, and its pictures in train/CLASS and test/CLASS;
#                                   default: what the kit holds, or ../shared beside the source tree
#
# Exit status: 0; 1 when a test failed, or a check of results ran out of time; 77 when there is no CUDA device.
#
# shellcheck disable=SC2317 # The parts are called by name.
set -u
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
self=$root/tests/gpu.sh
if [ -f "$root/kit.txt" ]; then
    bin=$root/bin tests=$root/bin more=$root/shared
    libraries=$root/lib
else
    bin=${THAW_BUILD:-$root/build}
    bin=$(cd "$bin" 2>/dev/null && pwd || echo "$bin")
    tests=$bin/tests/simt more=$root/../shared
    libraries=
fi
device=${THAW_DEVICE:-cuda}
threads=$(nproc)
beside=$(((threads + 2) / 2)) # Test programs at once.
model=${THAW_KIT_MODEL:-$more/models/mobilenet_v2.onnx}
pictures=${THAW_KIT_DATA:-$more/data/oxford12}
base=$root/datasets/flower_or_not.onnx
out=${1:-$root/tests/bench/results}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$root" || exit 1 # A test looks for its models from here.

# ---- running, and what is kept -----------------------------------------------------------------

# Our programs find the kit's libraries, Python must not.
joined() { printf '%s' "$*" | tr -s ' ' ':'; }
ours() {
    # shellcheck disable=SC2086
    OMP_WAIT_POLICY=passive LD_LIBRARY_PATH=$(joined $libraries ${LD_LIBRARY_PATH:-}) "$@"
}
thaw() { ours "$bin/thaw" "$@"; }

say() { echo "gpu.sh: $*" >&2; }
# Text as a JSON string.
quoted() { printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"; }
# A JSON object, or several lines that make one, for the record of the running part.
note() { printf '%s\n' "$(tr '\n' ' ' <<<"$1")" >>"$work/$part.jsonl"; }
# what, Thaw, peer, goal, met: a line of the table.
row() { printf '| %s | %s | %s | %s | %s |\n' "$1" "$2" "$3" "$4" "$5" >>"$work/$part.rows"; }
skip() { # Ends the part.
    printf '%s' "$*" >"$work/$part.why"
    exit 77
}
fail() { # The part goes on, and has failed.
    say "FAILED in $part: $*"
    printf '%s; ' "$*" >>"$work/$part.why"
    failed=1
}
is() { awk "BEGIN { exit !($1) }"; } # A comparison of numbers.
met() { if is "$1"; then echo yes; else echo '**no**'; fi; }
# The first number behind "KEY": in a file or in standard input.
number() {
    local key=$1
    shift
    sed -n "s/.*\"$key\": *\\([-0-9.e+]*\\).*/\\1/p" "$@" | head -n 1
}

# The median of a measurement that bench_print_spread has written.
median() { # name file
    sed -n "s/.* \"$1\": {\"median\": \([-0-9.e+]*\).*/\1/p" "$2" | head -n 1
}

# Waits until fewer than $1 jobs run.
room_for() { while [ "$(jobs -rp | wc -l)" -ge "$1" ]; do wait -n; done; }

# ---- the pictures ------------------------------------------------------------------------------

# name model folder side shorter: each story that there is.
stories() {
    [ -r "$base" ] && [ -d "$work/drawn" ] && echo "drawn $base $work/drawn 96 0"
    [ -r "$model" ] && [ -d "$pictures/train" ] && echo "oxford12 $model $pictures 224 256"
}

draw() {
    ours "$bin/thaw-draw" demo8 "$work/drawn" 40 30 160 2026 >"$work/draw.log" 2>&1 ||
        say "the pictures could not be drawn: $(tail -n 1 "$work/draw.log")"
}

# u8 pixels of at most 256 test pictures in $work/NAME.pixels.
decode() { # name folder side shorter
    [ -s "$work/$1.pixels" ] && return 0
    find "$2/test" "$2/train" -name '*.jpg' | sort | head -n 256 >"$work/$1.list"
    ours "$bin/bench_decode" "$work/$1.list" "$threads" 1 "$work/$1.pixels" "$3" "$4" \
        >"$work/$1.decode" 2>&1
}

# ---- parts: correctness ------------------------------------------------------------------------

part_tests() {
    local program name status passed=0 skipped=0 wrong=0
    for program in "$tests"/*_gpu; do
        [ -x "$program" ] || skip "no test programs in $tests; build them where nvcc is installed"
        room_for "$beside"
        name=$(basename "$program")
        (ours timeout --foreground $((limit - 10)) "$program" >"$work/$name.log" 2>&1; echo $? >"$work/$name.rc") &
    done
    wait
    for program in "$tests"/*_gpu; do
        name=$(basename "$program")
        status=$(cat "$work/$name.rc" 2>/dev/null || echo 'not started')
        case $status in
        0) passed=$((passed + 1)) ;;
        77) skipped=$((skipped + 1)) ;;
        *)
            wrong=$((wrong + 1))
            fail "$name: status $status: $(grep -m1 -A1 FAILED "$work/$name.log" || tail -n 1 "$work/$name.log")"
            ;;
        esac
        note "{\"test\": $(quoted "$name"), \"status\": $(quoted "$status"), \"says\": $(quoted "$(tail -n 1 "$work/$name.log")")}"
    done
    row "tests of operations and trunks on the device" "$passed passed, $wrong failed, $skipped skipped" "" "none fails" \
        "$(met "$wrong == 0 && $passed > 0")"
}

part_features() {
    local name net folder side shorter type out nmse most told=0
    while read -r name net folder side shorter; do
        if ! decode "$name" "$folder" "$side" "$shorter"; then
            fail "$name: the pictures were not decoded: $(tail -n 1 "$work/$name.decode")"
            continue
        fi
        if ! ours "$bin/bench_trunk" "$net" "$work/$name.pixels" "$work/$name.cpu" 32 "$threads" fp32 1 \
            >"$work/$name.cpu.json" 2>"$work/error"; then
            fail "$name on the CPU: $(cat "$work/error")"
            continue
        fi
        for type in fp16 fp32 bf16; do
            out=$work/$name.$type
            if ! ours "$bin/bench_trunk" "$net" "$work/$name.pixels" "$out" 32 "$threads" "$type" 1 "$device" \
                >"$out.json" 2>"$work/error"; then
                # Old devices multiply in half precision only.
                grep -q 'does not multiply' "$work/error" && continue
                fail "$name, $type: $(cat "$work/error")"
                continue
            fi
            told=1
            if ! ours "$bin/feature_error" "$work/$name.cpu" "$out" >"$out.error" 2>&1; then
                fail "$name, $type: $(cat "$out.error")"
                continue
            fi
            nmse=$(number nmse "$out.error") most=1e-4
            [ "$type" = bf16 ] && most=5e-3
            note "{\"pictures\": \"$name\", \"precision\": \"$type\", \"error\": $(cat "$out.error")}"
            row "features, $name, $type on the device beside fp32 on the CPU" "NMSE $nmse" "" "<= $most" \
                "$(met "$nmse <= $most")"
            is "$nmse <= $most" || fail "$name, $type: NMSE $nmse, at most $most expected"
        done
    done < <(stories)
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model with pictures is here"
}

# Trains on a story; leaves the run in $work/NAME-LABEL.
train() { # label device name net folder [option...]
    local label=$1 where=$2 name=$3 net=$4 folder=$5
    shift 5
    local out=$work/$name-$label
    thaw train --model="$net" --data.train="$folder" --out="$out" --device="$where" \
        --cache.dir="$out.cache" "$@" >"$out.log" 2>&1
}

part_training() {
    local name net folder rest cpu gpu n most away told=0
    while read -r name net folder rest; do
        : "$rest"
        if ! train cpu cpu "$name" "$net" "$folder"; then
            fail "$name on the CPU: $(tail -n 1 "$work/$name-cpu.log")"
            continue
        fi
        if ! train gpu "$device" "$name" "$net" "$folder" --precision=fp16; then
            fail "$name on the device: $(tail -n 1 "$work/$name-gpu.log")"
            continue
        fi
        told=1
        cpu=$(number top1 "$work/$name-cpu/metrics.json") gpu=$(number top1 "$work/$name-gpu/metrics.json")
        n=$(number n "$work/$name-gpu/metrics.json")
        away=$(awk "BEGIN { d = 100 * ($cpu - $gpu); printf \"%.2f\", (d < 0 ? -d : d) }")
        # A single picture is more than that in a small test set.
        most=$(awk "BEGIN { m = 100.0 / $n; printf \"%.2f\", (m > 0.3 ? m + 0.005 : 0.3) }")
        note "{\"pictures\": \"$name\", \"top1_cpu\": $cpu, \"top1_device\": $gpu, \"test_pictures\": $n, \"seconds_cpu\": $(number total "$work/$name-cpu/metrics.json"), \"seconds_device\": $(number total "$work/$name-gpu/metrics.json")}"
        row "top-1 of the trained head, $name, device beside CPU" "$gpu" "$cpu" "0.3 points, or a picture" \
            "$(met "$away <= $most")"
        is "$away <= $most" || fail "$name: top-1 is $away points from the CPU's"
    done < <(stories)
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model with pictures is here"
}

part_determinism() {
    local name net folder rest same told=0
    while read -r name net folder rest; do
        : "$rest"
        if ! train again1 "$device" "$name" "$net" "$folder" --precision=fp16 ||
            ! train again2 "$device" "$name" "$net" "$folder" --precision=fp16; then
            fail "$name: $(tail -qn 1 "$work/$name-again1.log" "$work/$name-again2.log" 2>/dev/null | head -n 1)"
            continue
        fi
        told=1 same=yes
        cmp -s "$work/$name-again1/model.onnx" "$work/$name-again2/model.onnx" || same='**no**'
        note "{\"pictures\": \"$name\", \"equal_bits\": $([ "$same" = yes ] && echo true || echo false)}"
        row "two runs, $name: model.onnx" "$([ "$same" = yes ] && echo equal || echo differs)" "" "equal bits" "$same"
        [ "$same" = yes ] || fail "$name: two runs leave different models"
    done < <(stories)
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model with pictures is here"
}

# program|first words of its cases|type: small ones of every kind; of a program that is not named
# here, all.
small_cases() {
    local program
    named_cases
    for program in "$tests"/*_gpu; do
        program=$(basename "$program")
        named_cases | grep -q "^$program|" || echo "$program||f16"
    done
}
named_cases() {
    cat <<'CASES'
test_conv_gpu|odd everything|f16
test_conv_gradients_gpu|depthwise 3x3|bf16
test_conv_gradients_gpu|groups|f32
test_conv_gpu|3x3 s2 pads|bf16
test_conv_gpu|splits 2|f16
test_conv_gpu|resnet 64->64|f32
test_depthwise_gpu|3x3|f16
test_stem_gpu|3x3 pads 2013|f16
test_stem_gpu|resnet, even|f16
test_pool_gpu|max|f16
test_elementwise_gpu||f16
test_layout_gpu||f16
test_maps_gpu||f16
test_gather_gpu||f32
test_head_step_gpu||f32
test_optimizer_gpu||f32
test_softmax_cross_entropy_gpu||f32
test_sums_gpu||f32
CASES
}

part_sanitizer() {
    local tool program cases type log sanitizer n=0 found=0 refused=0
    sanitizer=$(command -v compute-sanitizer ||
        find /usr/local/cuda*/bin -name compute-sanitizer 2>/dev/null | head -n 1)
    [ -n "$sanitizer" ] || skip "compute-sanitizer is not installed"
    for tool in memcheck racecheck synccheck initcheck; do
        while IFS='|' read -r program cases type; do
            [ -x "$tests/$program" ] || continue
            room_for "$beside"
            log=$work/$tool-$n
            n=$((n + 1))
            echo "$tool $program '$cases' $type" >"$log.what"
            # What has not begun by then is out of time, so that the others are told of.
            [ $((limit - SECONDS)) -gt 15 ] || continue
            (ours timeout $((limit - SECONDS - 8)) "$sanitizer" --tool "$tool" --error-exitcode 9 --print-limit 3 \
                "$tests/$program" "$cases" "$type" >"$log.log" 2>&1; echo $? >"$log.rc") &
        done < <(small_cases)
    done
    wait
    local all=0 late=0 what status
    for log in "$work"/*check-*.what; do
        [ -f "$log" ] || continue
        log=${log%.what} what=$(cat "$log.what") status=$(cat "$log.rc" 2>/dev/null || echo 124)
        all=$((all + 1))
        if grep -qisE 'not supported|LibraryNotLoaded' "$log.log"; then
            refused=$((refused + 1))
            status="refused"
        elif [ "$status" = 124 ]; then
            late=$((late + 1))
        elif [ "$status" = 1 ] && grep -q ' 0 cases ran, 0 failed' "$log.log"; then
            status="no such case on this device"
        elif [ "$status" != 0 ]; then
            found=$((found + 1))
            fail "$what: $(grep -m1 -E '=========.*(Error|Invalid|Race|hazard|Barrier|Uninit)|FAILED' "$log.log" || tail -n 1 "$log.log")"
        fi
        note "{\"run\": $(quoted "$what"), \"status\": $(quoted "$status")}"
    done
    [ "$refused" -lt "$all" ] || skip "compute-sanitizer does not support this machine: $(grep -hiE 'not supported|LibraryNotLoaded' "$work"/*check-0.log | head -n 1)"
    row "compute-sanitizer: memcheck, racecheck, synccheck, initcheck" \
        "$((all - found - late - refused)) of $all runs clean, $late out of time, $refused refused" "" "none finds anything" \
        "$(met "$found == 0 && $all > 0")"
}

# ---- parts: speed ------------------------------------------------------------------------------

# Where Python's packages keep cuDNN and cuBLAS.
python_libraries() {
    "$python" - <<'PYTHON' 2>/dev/null
import glob, os
import nvidia
found = {os.path.dirname(f) for p in nvidia.__path__ for f in glob.glob(p + "/**/lib*.so*", recursive=True)}
print(":".join(sorted(found)))
PYTHON
}

# The clocks now and then, while something else runs.
watch_clocks() {
    command -v nvidia-smi >/dev/null || return 0
    while sleep 6; do
        note "{\"clocks\": $(quoted "$(timeout 10 nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv,noheader 2>&1 | head -n 1)")}"
    done
}

part_kernels() {
    [ -x "$bin/bench_kernels" ] || skip "bench_kernels is not built"
    local more watcher status index=0
    case $device in cuda:*) index=${device#cuda:} ;; esac
    more=$(python_libraries)
    watch_clocks &
    watcher=$!
    LD_LIBRARY_PATH=${more:+$more:}${LD_LIBRARY_PATH:-} ours \
        "$bin/bench_kernels" --json="$work/kernels.json" --seconds=$((limit - 20)) --device="$index" \
        >"$work/kernels.out" 2>"$work/kernels.err"
    status=$?
    kill "$watcher" 2>/dev/null
    [ "$status" = 77 ] && skip "$(tail -n 1 "$work/kernels.out")"
    [ -s "$work/kernels.json" ] && note "$(cat "$work/kernels.json")"
    [ "$status" = 0 ] || fail "bench_kernels: status $status: $(grep -m1 FAILED "$work/kernels.out" || tail -n 1 "$work/kernels.err")"
    cp "$work/kernels.out" "$work/kernels.table"
    # | goal | measured | wanted | met |
    grep -E '^\| .* \| (yes|\*\*no\*\*|not measured) \|$' "$work/kernels.out" |
        while IFS='|' read -r _ what value wanted good _; do
            part=kernels row "${what# }" "${value// /}" "" "${wanted# }" "${good// /}"
        done
}

# Models for which trunks are timed: name and path.
trunks() {
    [ -r "$model" ] && echo "$(basename "$model" .onnx) $model"
    [ -s "$work/resnet50.onnx" ] && echo "resnet50 $work/resnet50.onnx"
}

# ResNet-50 is in no kit: drawn at random, by our program or by torchvision.
make_resnet() {
    thaw new --arch resnet50 --classes 1000 -o "$work/resnet50.onnx" >"$work/new.log" 2>&1 && return
    "$python" "$root/tests/bench/gpu_peers.py" resnet50 "$work/resnet50.onnx" >>"$work/new.log" 2>&1 ||
        say "no ResNet-50: $(tail -n 1 "$work/new.log")"
}

part_trunk() {
    local name path batch ms alone told=0 pixels=$work/random.pixels
    make_resnet
    head -c $((512 * 224 * 224 * 3)) /dev/urandom >"$pixels"
    while read -r name path; do
        for batch in 256 1 32 8; do
            # Fewer pictures for small batches, so that all end in time.
            head -c $((224 * 224 * 3 * (batch < 32 ? 64 : 512))) "$pixels" >"$pixels.now"
            if ! ours "$bin/bench_trunk" "$path" "$pixels.now" "$work/features" "$batch" "$threads" fp16 9 "$device" \
                >"$work/ours-$name-$batch.json" 2>"$work/error"; then
                fail "$name at batch $batch: $(cat "$work/error")"
                continue
            fi
            told=1
            note "$(cat "$work/ours-$name-$batch.json")"
            ms=$(median ms_per_image "$work/ours-$name-$batch.json")
            alone=$(median compute_ms_per_image "$work/ours-$name-$batch.json")
            row "trunk $name, fp16, batch $batch, host to host, and on the device" \
                "$(awk "BEGIN { printf \"%.0f (%.0f)\", 1000 / $ms, 1000 / $alone }") pictures/s" "" "" ""
        done
    done < <(trunks)
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model is here"
}

# Folders to features, and each stage alone. The folder's pictures are few: the share of the ideal
# counts the pipeline's filling and emptying as well.
part_pipeline() {
    local name net folder rest share told=0
    while read -r name net folder rest; do
        : "$rest"
        if ! ours "$bin/bench_pipeline" "$net" "$folder/train" 64 "$threads" fp16 5 "$device" \
            >"$work/pipeline-$name.json" 2>"$work/error"; then
            fail "$name: $(cat "$work/error")"
            continue
        fi
        told=1
        note "$(cat "$work/pipeline-$name.json")"
        share=$(median share_of_ideal "$work/pipeline-$name.json")
        row "folder to features, $name: pictures/s, of the slowest stage's" \
            "$(median pipeline "$work/pipeline-$name.json")" \
            "decode $(median decode "$work/pipeline-$name.json"), trunk $(median trunk "$work/pipeline-$name.json")" \
            "at least 0.9 of it: $share" "$(met "$share >= 0.9")"
    done < <(stories)
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model with pictures is here"
}

# A part of gpu_peers.py; it adds lines to the part's files as it goes, so that a limit costs only
# what is missing then.
peers() {
    [ -n "$python" ] || skip "no python3 is here"
    "$python" -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null ||
        skip "$python has no torch that sees a CUDA device"
    "$python" "$root/tests/bench/gpu_peers.py" "$@" --work="$work" --part="$part" --seconds=$((limit - 5)) \
        2>"$work/$part.err"
    local status=$?
    [ "$status" = 0 ] || fail "gpu_peers.py $1: status $status: $(tail -n 1 "$work/$part.err")"
}

part_peer_trunk() {
    local -a models
    mapfile -t models < <(trunks)
    [ ${#models[@]} -gt 0 ] || skip "no model is here"
    peers trunk "${models[@]/#/--model=}"
}

part_peer_head() {
    ours "$bin/bench_head" 2 100000 2048 102 256 "$threads" 3 "$device" >"$work/head.json" 2>"$work/error"
    if grep -q '"device": "cuda' "$work/head.json"; then
        note "$(cat "$work/head.json")"
    else
        row "head, 100,000 x 2048, 102 classes" "missing: $(tail -1 "$work/error")" "" "" ""
        rm -f "$work/head.json"
    fi
    peers head
}

part_job() {
    { [ -r "$model" ] && [ -d "$pictures/train" ]; } || skip "no model with pictures is here"
    local label seconds
    for label in first second; do
        rm -rf "$work/job"
        if ! thaw train --model="$model" --data.train="$pictures" --out="$work/job" --device="$device" \
            --precision=fp16 --epochs=30 --cache.dir="$work/job.cache" >"$work/job.log" 2>&1; then
            fail "thaw train: $(tail -n 1 "$work/job.log")"
            return
        fi
        seconds=$(number total "$work/job/metrics.json")
        echo "$seconds" >"$work/job-$label.seconds"
        note "{\"job\": \"thaw, $label run\", \"seconds\": $seconds, \"top1\": $(number top1 "$work/job/metrics.json")}"
        row "folder to trained head, 30 epochs, $label run" "$seconds s" "" "" ""
    done
    peers job --model="$(basename "$model" .onnx) $model" --pictures="$pictures"
}

# Cuts of a model whose training above is measured.
cuts_of() {
    case $1 in
    resnet50) echo "stage4 stage3" ;;
    *) echo "stage5.2 stage4 none" ;;
    esac
}

# Images a second of training above a cut, as the log tells them.
training_rate() { sed -n 's/.*trained above the cut: \([0-9]*\) images.*/\1/p' "$1"; }

# Training above a cut, on real pictures: what it learns beside the CPU, and that it is repeatable.
part_above() {
    { [ -r "$model" ] && [ -d "$pictures/train" ]; } || skip "no model with pictures is here"
    local cut name cpu gpu away rate same device_rate
    for cut in stage5.2 stage4; do
        for name in cpu gpu again; do
            local where=$device
            [ "$name" = cpu ] && where=cpu
            if ! train "above-$name" "$where" oxford12 "$model" "$pictures" --freeze="$cut" \
                --precision=fp32 --top.epochs=4; then
                fail "$cut, $name: $(tail -n 1 "$work/oxford12-above-$name.log")"
                continue 2
            fi
        done
        grep -q 'trained on the CPU' "$work/oxford12-above-gpu.log" &&
            fail "$cut: $(grep -m1 'trained on the CPU' "$work/oxford12-above-gpu.log")"
        cpu=$(number top1 "$work/oxford12-above-cpu/metrics.json")
        gpu=$(number top1 "$work/oxford12-above-gpu/metrics.json")
        away=$(awk "BEGIN { d = 100 * ($cpu - $gpu); printf \"%.2f\", (d < 0 ? -d : d) }")
        rate=$(training_rate "$work/oxford12-above-cpu.log")
        device_rate=$(training_rate "$work/oxford12-above-gpu.log")
        same=yes
        cmp -s "$work/oxford12-above-gpu/model.onnx" "$work/oxford12-above-again/model.onnx" || same='**no**'
        note "{\"cut\": \"$cut\", \"top1_cpu\": $cpu, \"top1_device\": $gpu, \"images_per_second_cpu\": ${rate:-0}, \"images_per_second_device\": ${device_rate:-0}, \"equal_bits\": $([ "$same" = yes ] && echo true || echo false)}"
        row "top-1 after training above $cut, oxford12, device beside CPU" "$gpu ($device_rate images/s)" \
            "$cpu ($rate images/s)" "one point" "$(met "$away <= 1")"
        row "two runs above $cut: model.onnx" "$([ "$same" = yes ] && echo equal || echo differs)" "" "equal bits" "$same"
        is "$away <= 1" || fail "$cut: top-1 is $away points from the CPU's"
        [ "$same" = yes ] || fail "$cut: two runs leave different models"
    done
}

# A step of training, and PyTorch's.
part_step() {
    local name path cut batch precision out ms told=0
    make_resnet
    while read -r name path precision; do
        for cut in $(cuts_of "$name"); do
            for batch in 32 256; do
                out=$work/top-$name-$cut-$batch-$precision.json
                if ! ours "$bin/bench_top" "$path" "$cut" "$batch" 30 "$threads" "$device" "$precision" \
                    >"$out" 2>"$work/error"; then
                    rm -f "$out"
                    # Old devices multiply in half precision and float only.
                    grep -q 'does not multiply' "$work/error" && continue
                    fail "$name above $cut at batch $batch in $precision: $(cat "$work/error")"
                    continue
                fi
                told=1
                note "{\"model\": \"$name\", \"record\": $(cat "$out")}"
                ms=$(median step_ms "$out")
                row "a step of training $name above $cut, batch $batch, $precision" "$ms ms" "" "" ""
            done
        done
    done < <(trunks | sed 's/$/ bf16/' && trunks | sed 's/$/ tf32/')
    [ "$told" = 1 ] || [ "$failed" = 1 ] || skip "no model is here"
    local -a models
    mapfile -t models < <(trunks)
    peers top "${models[@]/#/--model=}"
}

# ---- one part in a process of its own, under a limit ---------------------------------------------

find_python() {
    local candidate
    python=
    for candidate in ${THAW_PYTHON:+"$THAW_PYTHON"} python3 /opt/torch/.venv/bin/python3; do
        command -v "$candidate" >/dev/null || continue
        python=${python:-$candidate} # Any is better than none.
        "$candidate" -c 'import torch' 2>/dev/null && python=$candidate && return
    done
}

if [ "${1:-}" = --part ]; then
    part=$2 work=$3 limit=$4 failed=0
    python=${THAW_GPU_PYTHON:-}
    "part_$part"
    exit "$failed"
fi

# ---- the whole -----------------------------------------------------------------------------------

# What each part may take, in seconds; the whole has its own end.
parts="tests:80 features:40 training:50 determinism:40 above:60 step:150 kernels:100 trunk:45 pipeline:30 peer_head:35 job:60 sanitizer:80 peer_trunk:150"
end=$((SECONDS + ${THAW_SECONDS:-470}))
wrong=0
mkdir -p "$out" || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/thaw-gpu-XXXXXX")
trap 'rm -rf "$work"' EXIT
find_python
export THAW_GPU_PYTHON=$python

# Runs a part; leaves its status and its seconds.
run_part() { # name limit
    local status began=$SECONDS limit=$2
    [ $((end - SECONDS)) -lt "$limit" ] && limit=$((end - SECONDS))
    if [ -n "$why_not" ]; then
        printf '%s' "$why_not" >"$work/$1.why"
        status=77
    elif [ "$limit" -lt 15 ]; then
        printf 'no time is left' >"$work/$1.why"
        status=77
    else
        say "$1, at most $limit s"
        timeout -k 5 "$limit" bash "$self" --part "$1" "$work" "$limit"
        status=$?
    fi
    case $status in
    0) status=passed ;;
    77) status=skipped ;;
    124 | 137)
        status='out of time'
        printf 'it was stopped after %s s' "$limit" >>"$work/$1.why"
        # What checks results has not shown that they are right.
        case $1 in tests | features | training | determinism | above) wrong=1 ;; esac
        ;;
    *)
        status=failed
        wrong=1
        ;;
    esac
    [ "$status" = passed ] || say "$1: $status: $(cat "$work/$1.why" 2>/dev/null)"
    echo "$status" >"$work/$1.status"
    echo $((SECONDS - began)) >"$work/$1.seconds"
}

# "" when there is a device; otherwise the reason.
device_trouble() {
    local text status
    [ -x "$bin/thaw" ] || {
        echo "there is no program in $bin: build it first"
        return
    }
    [ -x "$bin/bench_kernels" ] || {
        echo "the build in $bin has no CUDA kernels: build it where nvcc is installed"
        return
    }
    text=$(ours timeout 60 "$bin/bench_kernels" --no-peers --only=none 2>&1)
    status=$?
    [ "$status" = 77 ] && echo "no CUDA device: ${text#SKIPPED: bench_kernels: }"
}

gpu_facts() {
    command -v nvidia-smi >/dev/null || return 0
    timeout 20 nvidia-smi --query-gpu="$1" --format=csv,noheader 2>/dev/null | head -n 1
}

commit_of() {
    if [ -f "$root/kit.txt" ]; then
        sed -n 's/^commit //p' "$root/kit.txt"
    else
        local changes
        changes=$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null)
        echo "$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null)${changes:+ with changes}"
    fi
}

write_json() {
    local name first=1
    printf '{"machine": {"date": %s, "gpu": %s, "driver": %s,\n' "$(quoted "$date")" "$(quoted "$gpu")" \
        "$(quoted "$(gpu_facts driver_version)")"
    printf ' "clocks_idle_and_max": %s, "cpu": %s, "cores": %s, "commit": %s, "missing": %s},\n "parts": {' \
        "$(quoted "$(gpu_facts clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem)")" \
        "$(quoted "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)")" "$threads" \
        "$(quoted "$(commit_of)")" "$(quoted "$why_not")"
    for name in $ran; do
        [ "$first" = 1 ] || printf ','
        first=0
        printf '\n  "%s": {"status": %s, "seconds": %s, "why": %s, "records": [' "$name" \
            "$(quoted "$(cat "$work/$name.status")")" "$(cat "$work/$name.seconds")" \
            "$(quoted "$(cat "$work/$name.why" 2>/dev/null)")"
        [ -f "$work/$name.jsonl" ] && paste -sd, "$work/$name.jsonl" | tr '\n' ' '
        printf ']}'
    done
    printf '\n }\n}\n'
}

write_table() {
    local name
    echo "$date, $gpu, driver $(gpu_facts driver_version), SM and memory clocks idle and at most:" \
        "$(gpu_facts clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem); $threads cores, commit $(commit_of)."
    printf '\n| what | Thaw | peer | goal | met |\n|---|---|---|---|---|\n'
    for name in $ran; do
        [ -f "$work/$name.rows" ] && cat "$work/$name.rows"
    done
    echo
    for name in $ran; do
        echo "- $name: $(cat "$work/$name.status") after $(cat "$work/$name.seconds") s$([ -s "$work/$name.why" ] && echo ": $(head -c 600 "$work/$name.why" | tr '\n' ' ')")"
    done
}

why_not=$(device_trouble)
[ -n "$why_not" ] && say "SKIPPED: $why_not"
[ -z "$why_not" ] && draw
ran=
for entry in $parts; do
    name=${entry%:*}
    case " ${THAW_PARTS:-$name} " in *" $name "*) ;; *) continue ;; esac
    ran="$ran $name"
    run_part "$name" "${entry#*:}"
done

date=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gpu=$(gpu_facts name)
label=$(printf '%s' "${gpu:-no-gpu}" | tr -c 'A-Za-z0-9\n' '-' | tr '[:upper:]' '[:lower:]')
gpu=${gpu:-no GPU}
stem=$out/${date%%T*}-$label
write_json >"$stem.json"
write_table >"$stem.md"
if [ -s "$work/kernels.table" ]; then cp "$work/kernels.table" "$stem-kernels.md"; fi
echo "gpu.sh: the record is in $stem.json and .md" >&2
cat "$stem.md"
[ -n "$why_not" ] && exit 77
exit "$wrong"

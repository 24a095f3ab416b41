#!/usr/bin/env bash
# Builds the fuzz targets with clang, ASan and UBSan into build-fuzz/, and runs them for some seconds
# each.
#
# usage: tests/fuzz/run.sh [SECONDS [TARGET...]]        20 seconds, all targets
#
# A target's seeds are tests/fuzz/corpus/TARGET/, where what once was found stays, and files that
# are in the tree anyway or are made here. What is found lies in build-fuzz/found/TARGET/; running
# build-fuzz/fuzz_TARGET with such a file repeats it. What the fuzzer learns stays in
# build-fuzz/learnt/TARGET/ for the next run. Exit code 1: something was found, or did not run.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$root/build-fuzz
tiny=$root/tests/data/image/tiny
seconds=${1:-20}
shift || true

install_missing() {
    command -v dpkg-query >/dev/null || return 0
    local missing=() package sudo=""
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    [ "$(id -u)" -eq 0 ] || sudo="sudo -n"
    echo "fuzz: installing ${missing[*]}"
    get() {
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -y -qq install --no-install-recommends \
            "${missing[@]}" >"$build/install.log" 2>&1
    }
    get || { $sudo apt-get -qq update && get; } || {
        tail -n 5 "$build/install.log"
        exit 1
    }
}

compile() {
    CC=clang CXX=clang++ cmake -S "$root" -B "$build" -DTHAW_CUDA=OFF -DTHAW_FUZZ=ON &&
        cmake --build "$build" --parallel "$(nproc)" --target fuzz thaw thaw-draw
}

# A small run, for the target that opens bundles.
train_a_run() {
    rm -rf "$build/pictures" "$build/run"
    "$build/thaw-draw" base2 "$build/pictures" 4 1 32 3 &&
        "$build/thaw" train --model="$root/datasets/flower_or_not.onnx" --log=error --threads=1 \
            --data.train="$build/pictures" --out="$build/run" --epochs=1 --cache.dir=none --reject.rate=0.2
}

# The lines "key = value" of train.ini as keys with their section, a blank and the value.
options() {
    awk '/^\[/ { section = substr($1, 2, length($1) - 2) "." }
         /^[a-z_0-9]+ *=/ { key = $1; sub(/^[^=]*= */, ""); print section key, $0 }' "$root/train.ini"
}

# Puts the seeds of a target into a folder.
seed() {
    local target=$1 to=$2 i=0 key value
    rm -rf "$to"
    mkdir -p "$to"
    [ ! -d "$root/tests/fuzz/corpus/$target" ] || cp "$root/tests/fuzz/corpus/$target"/* "$to"
    case $target in
        jpeg) cp "$tiny"/*.jpg "$to" ;;
        png) find "$tiny" -name '*.png' ! -name '*.full.png' -exec cp {} "$to" \; ;;
        bmp | gif | pnm | psd | webp) cp "$tiny"/*."$target" "$to" ;;
        tiff) cp "$tiny"/*.tif "$tiny"/../*.tif "$to" ;;
        onnx) find "$root/tests/data/onnx" -name '*.onnx' -size -12k -exec cp {} "$to" \; ;;
        ini) cp "$root/train.ini" "$to" ;;
        option)
            while read -r key value; do
                printf '%s\n%s' "$key" "$value" >"$to/$((i++))"
            done < <(options)
            ;;
        shard) THAW_FUZZ_SEEDS=$to "$build/fuzz_shard" -runs=0 >/dev/null 2>&1 ;;
        bundle) cp "$build/run/bundle.json" "$to" ;;
        tar)
            rm -rf "$build/members"
            mkdir -p "$build/members/a"
            printf 'a picture' | tee "$build/members/1.jpg" "$build/members/a/2.png" >/dev/null
            printf 3 >"$build/members/1.cls"
            printf '{"label": "rose"}' >"$build/members/a/2.json"
            for format in ustar pax gnu; do
                tar -C "$build/members" --format="$format" --sort=name -cf "$to/$format" .
            done
            ;;
        body)
            printf '%s\n' image/jpeg '*/*' ONE >"$to/picture"
            printf '%s\n' application/json 'application/json;list' '{"image": "Zm9vYg=="}' >"$to/one"
            printf '%s\n' application/json 'application/jsonlines;q=0.5, application/json;verbose' \
                '{"images": ["data:image/png;base64,Zm9v", "?"]}' >"$to/some"
            printf '%s\n' application/json application/jsonlines '{"instances": [{"b64": "Zm9v"}]}' \
                >"$to/instances"
            printf '%s\n%s\n--X\r\nContent-Disposition: form-data; name="a"; filename="b.jpg"%s%s' \
                'multipart/form-data; boundary="X"' '' $'\r\n\r\nONE\r\n--X' \
                $'\r\nContent-Type: image/png\r\n\r\nTWO\r\n--X--\r\n' >"$to/parts"
            ;;
    esac
}

# Words that no mutation finds by chance.
words() {
    case $1 in
        jpeg) printf '\\xff\\x%s\n' c0 c1 c2 c4 c8 c9 ca cc d0 d8 d9 da db dd e0 e1 ee fe ;;
        png) printf '%s\n' IHDR PLTE IDAT IEND tRNS eXIf iTXt gAMA XML:com.adobe.xmp ;;
        npy) printf "%s\n" "'descr'" "'fortran_order'" "'shape'" "<f8" "<f2" "|u1" True False ;;
        gif) printf '%s\n' GIF87a GIF89a '!\xf9\x04' ',' ;;
        pnm) printf '%s\n' P1 P2 P3 P4 P5 P6 '#' '\x0a' 255 65535 ;;
        bmp) printf '%s\n' 'BM' '\x28\x00\x00\x00' '\x6c\x00\x00\x00' '\x0c\x00\x00\x00' ;;
        tiff) printf '%s\n' '\x03\x00\x01\x00' '\x04\x00\x01\x00' '\x01\x03' '\x06\x01' '\x11\x01' '\x40\x01' '\x52\x01' ;;
        webp) printf '%s\n' 'VP8 ' VP8L VP8X ANIM ANMF ALPH 'EXIF' 'XMP ' ;;
        psd) printf '%s\n' '8BPS\x00\x01' '\x00\x01' '\x00\x03' '\x00\x10' ;;
        onnx) grep -rhoE '\.type = "\w+"' "$root/engine/graph" | sed 's/.*"\(.*\)"/\1/' ;;
        ini | option) options | tr ' ' '\n' | grep -E '^[a-zA-Z0-9._-]+$' ;;
        hyperparameters)
            grep -oE '\{"[a-z_0-9]+",' "$root/host/options/foreign.c" | tr -d '{",'
            options | cut -d' ' -f1
            ;;
        shard) printf '%s\n' THAWSHRD facts network about ;;
        record | pipe) printf '%s\n' '\x0a\x23\xd7\xce' ;;
        tar) printf '%s\n' ustar .cls .json .jpg label '././@LongLink' ' path=' ' size=' GNU.sparse ;;
        list) printf '%s\n' source-ref s3:// -metadata class-name 'path,label' split group train validation test '\x09' '\x0d\x0a' ../ ./ ;;
        body) printf '%s\n' b64 boundary= filename= verbose list q=0 ';base64,' '\x0d\x0a\x0d\x0a' ;;
        bundle) grep -oE '"[a-z_]+"' "$build/run/bundle.json" | tr -d '"' ;;
        beside) grep -oE '"[a-z_]+"' "$root/host/model/beside.c" | tr -d '"' ;;
    esac | sort -u | sed 's/.*/"&"/'
}

# Runs one target; its log tells how it went.
fuzz() {
    local target=$1
    mkdir -p "$build/found/$target" "$build/learnt/$target"
    seed "$target" "$build/seeds/$target"
    words "$target" >"$build/seeds/$target.dict"
    local longest=0
    [[ $target != option && $target != hyperparameters ]] || longest=300 # Looking for what may have been meant takes its time.
    TMPDIR=$temporary THAW_FUZZ_RUN=$build/run OMP_NUM_THREADS=1 \
        "$build/fuzz_$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 \
        -max_len="$longest" -artifact_prefix="$build/found/$target/" -dict="$build/seeds/$target.dict" \
        "$build/learnt/$target" "$build/seeds/$target"
}

mkdir -p "$build"
# Files that targets write are written thousands of times: in memory, where that is a folder.
temporary=$(mktemp -d /dev/shm/thaw-fuzz-XXXXXX 2>/dev/null || mktemp -d)
trap 'rm -rf "$temporary"' EXIT
install_missing clang libclang-rt-dev libomp-dev
for step in compile train_a_run; do
    "$step" >"$build/$step.log" 2>&1 || {
        tail -n 30 "$build/$step.log"
        echo "fuzz: $step failed; the whole output is in $build/$step.log"
        exit 1
    }
done

targets=("$@")
[ $# -gt 0 ] || for file in "$root"/tests/fuzz/fuzz_*.c; do
    targets+=("$(basename "$file" .c | sed 's/^fuzz_//')")
done
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n || true; done
    (
        set +e
        fuzz "$target" >"$build/$target.log" 2>&1
        echo $? >"$build/$target.status"
    ) &
done
wait

failed=0
for target in "${targets[@]}"; do
    status=$(cat "$build/$target.status")
    done_line=$(grep -E '^Done [1-9][0-9]* runs in ' "$build/$target.log" | tail -n 1 || true)
    if [ "$status" -eq 0 ] && [ -n "$done_line" ]; then
        echo "fuzz: $target: $done_line"
    else
        failed=$((failed + 1))
        grep -E 'ERROR|SUMMARY|runtime error|not so|Test unit written' "$build/$target.log" |
            head -n 5 || true
        echo "fuzz: $target: exit code $status; see $build/$target.log"
    fi
done
echo "fuzz: ${#targets[@]} targets for $seconds seconds each, $failed failed"
[ "$failed" -eq 0 ]

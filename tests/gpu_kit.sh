#!/usr/bin/env bash
# Gathers what tests/gpu.sh needs on a bare machine with a GPU: BUILD/gpu-kit and BUILD/gpu-kit.tar.xz.
#
#     gpu_kit.sh BUILD         run by the target gpu-kit, once everything is built
#
#     THAW_KIT_MODEL=FILE      goes along as shared/models/; default ../shared/models/mobilenet_v2.onnx
#     THAW_KIT_DATA=FOLDER     train/CLASS and test/CLASS, as shared/data/oxford12/; default likewise.
#                              Either may be "none".
#
# There: tar xf gpu-kit.tar.xz && gpu-kit/gpu.sh [OUT]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(cd "$1" && pwd)
kit=$build/gpu-kit
model=${THAW_KIT_MODEL:-$root/../shared/models/mobilenet_v2.onnx}
data=${THAW_KIT_DATA:-$root/../shared/data/oxford12}
most_bytes=$((50 * 1000 * 1000))

rm -rf "$kit" "$kit.tar.xz"
mkdir -p "$kit"/{bin,lib,tests/bench,tests/data,datasets}
programs=("$build"/{thaw,thaw-draw,feature_error} "$build"/bench_{kernels,trunk,head,top,pipeline,decode}
    "$build"/tests/simt/*_gpu)
for program in "${programs[@]}"; do
    strip -o "$kit/bin/$(basename "$program")" "$program"
done

# All but the C and C++ runtimes, which every machine has and which must fit its other libraries.
everywhere='^(linux-vdso|ld-linux.*|libc|libm|libdl|libpthread|librt|libstdc\+\+|libgcc_s)\.so'
for program in "$kit"/bin/*; do ldd "$program"; done | awk '$2 == "=>" { print $1, $3 }' | sort -u |
    while read -r name path; do
        [[ $name =~ $everywhere ]] && continue
        [ -r "$path" ] || {
            echo "gpu-kit: $name is not found, so the kit would lack it" >&2
            exit 1
        }
        strip --strip-unneeded -o "$kit/lib/$name" "$path" 2>/dev/null || cp -L "$path" "$kit/lib/$name"
    done

cp "$root/tests/gpu.sh" "$kit/tests/"
cp "$root"/tests/bench/{gpu_peers,onnx_torch,train_peer}.py "$kit/tests/bench/"
cp -r "$root/tests/data/onnx" "$kit/tests/data/"
cp "$root/datasets/flower_or_not.onnx" "$kit/datasets/"
{
    changes=$(git -C "$root" status --porcelain --untracked-files=no 2>/dev/null || true)
    echo "commit $(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null || echo unknown)${changes:+ with changes}"
    echo "built $(date -u +%Y-%m-%dT%H:%M:%SZ) for $(sed -n 's/^CMAKE_CUDA_ARCHITECTURES[^=]*=//p' "$build/CMakeCache.txt")"
} >"$kit/kit.txt"

# The program by hand, with the kit's libraries.
cat >"$kit/thaw" <<'WRAPPER'
#!/usr/bin/env bash
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LD_LIBRARY_PATH=$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/bin/thaw" "$@"
WRAPPER
cat >"$kit/gpu.sh" <<'WRAPPER'
#!/usr/bin/env bash
exec bash "$(dirname "${BASH_SOURCE[0]}")/tests/gpu.sh" "${1:-results}"
WRAPPER
chmod +x "$kit"/{thaw,gpu.sh}

size() { find "$@" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d", n }'; }
if [ "$model" != none ] && [ -r "$model" ]; then
    mkdir -p "$kit/shared/models"
    cp "$model" "$kit/shared/models/mobilenet_v2.onnx"
fi
if [ "$data" != none ] && [ -d "$data/train" ]; then
    mkdir -p "$kit/shared/data"
    cp -rL "$data" "$kit/shared/data/oxford12"
    chmod -R u+w "$kit/shared"
fi
export XZ_OPT='-9 -T0' # Programs share kernels, some 10 MB apart.
tar -C "$build" -cJf "$kit.tar.xz" gpu-kit
more=0 # Pictures are packed already: they take here what they take among the others.
[ ! -d "$kit/shared" ] || more=$(tar -C "$kit" -cJf - shared | wc -c)
without=$(($(size "$kit.tar.xz") - more))
echo "gpu-kit: $kit.tar.xz: $(size "$kit.tar.xz") bytes, $without without model and pictures;" \
    "unpacked $(size "$kit")"
[ "$without" -lt "$most_bytes" ] || {
    echo "gpu-kit: $without bytes are more than $most_bytes; build for one architecture:" \
        "-DCMAKE_CUDA_ARCHITECTURES=90-real" >&2
    exit 1
}

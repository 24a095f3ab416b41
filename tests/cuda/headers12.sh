#!/usr/bin/env bash
# Compiles the CUDA sources that call the runtime, and one of each kind of kernel, with the headers of CUDA 12.0, the
# oldest that is taken: with clang, since of nvcc there is no package of that age. Nothing is generated.
#
#     headers12.sh      77: there is no clang++, or THAW_PYTHON has no packages of these headers
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
found=$("${THAW_PYTHON:-python3}" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
if ! command -v clang++ >/dev/null || [ ! -f "$found/cuda_runtime/include/cuda_runtime.h" ] ||
    [ ! -d "$found/cuda_nvcc/include/crt" ]; then
    echo "SKIPPED: cuda_headers12: no clang++, or no headers (pip: nvidia-cuda-runtime-cu12, nvidia-cuda-nvcc-cu12)"
    exit 77
fi

toolkit=$(mktemp -d)
trap 'rm -rf "$toolkit"' EXIT
mkdir "$toolkit/lib64"
cp -r "$found"/cuda_nvcc/{bin,nvvm,include} "$toolkit"
cp -r "$found"/cuda_runtime/include "$toolkit"
touch "$toolkit/include/curand_mtgp32_kernel.h" # clang wants it, and nothing in it.

# Headers of another CUDA may lie where a compiler looks by itself.
cat >"$toolkit/version.h" <<'EOF'
#include <cuda_runtime.h>
#if CUDART_VERSION != 12000
#error "these are not the headers of CUDA 12.0"
#endif
EOF

cd "$root/kernels/cuda"
mapfile -t files < <(grep -lE '\bcuda[A-Z][A-Za-z]+\(' -- *.cu)
[ ${#files[@]} -gt 0 ] || { echo "FAILED: no source calls the runtime"; exit 1; }
files+=(conv_f16.cu depthwise.cu gradients.cu matmul.cu stem.cu)
for file in "${files[@]}"; do
    # clang 14 knows textures only as CUDA 11 has them, and there are none here.
    clang++ -x cuda "$file" --cuda-path="$toolkit" --cuda-gpu-arch=sm_80 -std=c++17 -fsyntax-only -w \
        -isystem "$toolkit/include" -include "$toolkit/version.h" \
        -Wno-unknown-cuda-version -D__CLANG_CUDA_TEXTURE_INTRINSICS_H__ -DTHAW_KERNEL_HASH='""' \
        -I"$root/kernels" -I"$root/base" -I. || { echo "FAILED: $file with the headers of CUDA 12.0"; exit 1; }
done
echo "cuda_headers12: ${#files[@]} sources compiled"

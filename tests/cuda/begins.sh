#!/usr/bin/env bash
# Every kernel begins with begin_kernel(): a launch beside the kernel before it relies on that, and
# an older device or the emulation would not show that it is missing.
#
#     begins.sh SOURCE_FOLDER
set -euo pipefail
awk '
    FNR == 1 { inside = 0 }
    /^__global__/ { inside = 1; head = FILENAME ":" FNR; kernels++ }
    inside && /\{ *$/ { inside = 2; next }
    inside == 2 {
        if ($0 !~ /^ *begin_kernel\(\);$/ && !/\*sm = ARCH;/) { print head ": a kernel that does not begin with begin_kernel()"; failed++ }
        inside = 0
    }
    END { printf "begins: %d kernels, %d failed\n", kernels, failed; exit failed > 0 || kernels == 0 }
' "$1"/kernels/cuda/*.cu "$1"/kernels/cuda/*.cuh

#!/usr/bin/env bash
# Holds the widths of the CUDA kernels' accesses to global memory, in machine code, to accesses.txt:
# the compiler splits a 16-byte access where it finds use for the parts, and nothing else would tell.
#
#     accesses.sh BUILD_FOLDER       77: there is no cuobjdump on the PATH or in THAW_PYTHON's packages
set -euo pipefail
build=$1
table=$(dirname "$0")/accesses.txt
if ! command -v cuobjdump >/dev/null; then
    found=$("${THAW_PYTHON:-python3}" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
    PATH=$PATH:$found/cu13/bin
fi
command -v cuobjdump >/dev/null && command -v nvdisasm >/dev/null || {
    echo "SKIPPED: accesses: no cuobjdump and nvdisasm (pip: nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm)"
    exit 77
}

# kernel | architecture | narrow stores | narrow loads. Of all architectures it would take minutes.
count() {
    local arch
    for arch in sm_86 sm_90; do cuobjdump -sass -arch "$arch" "$1" 2>/dev/null || true; done | awk '
        function tell() { if (name != "") print name "|" sm "|" stores + 0 "|" loads + 0; stores = loads = 0 }
        /^[ \t]*arch = / { tell(); name = ""; sm = $3; sub(/sm_/, "", sm) }
        /Function :/ { tell(); name = $3 }
        /STG\.|STG / && !/STG[A-Z0-9_.]*\.128/ { stores++ }
        /LDG\.|LDG / && !/LDG[A-Z0-9_.]*\.128/ { loads++ }
        END { tell() }' | c++filt | sed -E 's/^void //; s/thaw:://g'
}

patterns=() stores=() loads=()
while read -r pattern most_stores most_loads; do
    [[ $pattern =~ ^(#.*)?$ ]] && continue
    patterns+=("$pattern") stores+=("$most_stores") loads+=("$most_loads")
done <"$table"

kernels=0 failed=0
while IFS='|' read -r name sm narrow_stores narrow_loads; do
    name=${name%%(*}
    for i in "${!patterns[@]}"; do
        # shellcheck disable=SC2053
        [[ $name == ${patterns[i]} ]] || continue
        kernels=$((kernels + 1))
        if [ "$narrow_stores" -gt "${stores[i]}" ] || [ "$narrow_loads" -gt "${loads[i]}" ]; then
            echo "FAILED: $name on sm_$sm has $narrow_stores narrow stores and $narrow_loads narrow loads, ${stores[i]} and ${loads[i]} at most"
            failed=$((failed + 1))
        fi
        break
    done
done < <(find "$build" -path '*thaw_kernels_cuda*' -regex '.*/\(conv_[a-z0-9]*\|separable\|depthwise\|pool\|layout\|layer_norm\|elementwise\).cu.o' | while read -r object; do count "$object"; done)
echo "accesses: $kernels kernels compared, $failed failed"
[ "$failed" -eq 0 ] && [ "$kernels" -gt 0 ]

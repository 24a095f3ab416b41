#!/usr/bin/env bash
# Holds the machine code of the CUDA kernels to sass.txt: the compiler splits a 16-byte access where it finds use for
# the parts, and loads more than a main loop needs, and nothing else would tell.
#
#     sass.sh BUILD_FOLDER       77: there is no cuobjdump on the PATH or in THAW_PYTHON's packages
set -euo pipefail
build=$1
table=$(dirname "$0")/sass.txt
if ! command -v cuobjdump >/dev/null; then
    found=$("${THAW_PYTHON:-python3}" -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
    PATH=$PATH:$found/cu13/bin
fi
command -v cuobjdump >/dev/null && command -v nvdisasm >/dev/null || {
    echo "SKIPPED: cuda_sass: no cuobjdump and nvdisasm (pip: nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm)"
    exit 77
}

# kernel | architecture | narrow stores | narrow loads | mma | ldsm | copies | bars | epilogue. Of all architectures it
# would take minutes.
measure() {
    local arch
    for arch in sm_86 sm_90; do cuobjdump -sass -arch "$arch" "$1" 2>/dev/null || true; done | awk '
        function tell() {
            if (name != "")
                print name "|" sm "|" stores + 0 "|" loads + 0 "|" (most ? loop : "-|-|-|-") "|" (epilogue ? epilogue : "-")
        }
        # The products of a loop are those between its last instruction, which branches back, and its first.
        function look_at_loop(first,    i, mma, ldsm, copies, bars) {
            for (i = first; i <= n; i++) {
                mma += op[i] ~ /^[A-Z]+MMA/
                ldsm += op[i] ~ /^LDSM/
                copies += op[i] ~ /^LDGSTS/
                bars += op[i] ~ /^BAR/
            }
            if (mma > most) {
                most = mma
                loop = mma "|" ldsm "|" copies "|" bars
            }
        }
        /^[ \t]*arch = / { tell(); name = ""; sm = $3; sub(/sm_/, "", sm) }
        /Function :/ {
            tell()
            name = $3
            n = from = stores = loads = wide = maxima = most = 0
            epilogue = ""
            split("", at)
        }
        /^[ \t]+\/\*[0-9a-f]+\*\// {
            address = substr($1, 3, index($1, "*/") - 3)
            sub(/^0+/, "", address)
            at["0x" address] = ++n
            operation = op[n] = $2 ~ /^@/ ? $3 : $2
            if (operation ~ /^STG/) {
                if (operation ~ /\.128/) wide++; else stores++
            } else if (operation ~ /^LDG(\.|$)/ && operation !~ /\.128/) loads++
            else if (operation ~ /^FMNMX/) maxima++
            else if (operation ~ /^BRA/ && match($0, /BRA[A-Z. ]* 0x[0-9a-f]+/)) {
                to = substr($0, RSTART, RLENGTH)
                sub(/.* /, "", to)
                if (to in at) look_at_loop(at[to])
            } else if (operation ~ /^EXIT/) {
                # Each activation has a copy of the epilogue up to its exit. That of relu has a maximum for each value,
                # 8 a store of halves, 4 of floats. A clip of floats has 8 as well, but is longer: the shortest counts.
                each = wide ? sprintf("%.1f", (n - from) / wide) : ""
                relu = maxima == 8 * wide || maxima == 4 * wide
                if (wide >= 4 && relu && (!epilogue || each + 0 < epilogue + 0)) epilogue = each
                from = n
                wide = maxima = 0
            }
        }
        END { tell() }' | c++filt | sed -E 's/^void //; s/thaw:://g'
}

rows=()
while read -r row; do
    [[ $row =~ ^(#.*)?$ ]] || rows+=("$row")
done <"$table"

kernels=0 failed=0
fail() {
    echo "FAILED: $name on sm_$sm has $1"
    failed=$((failed + 1))
}
while IFS='|' read -r name sm stores loads mma ldsm copies bars epilogue; do
    name=${name%%(*}
    for row in "${rows[@]}"; do
        # A pattern has blanks; the numbers are the last seven words.
        read -r -a words <<<"$row"
        wanted=("${words[@]: -7}") pattern=${words[*]:0:${#words[@]}-7}
        [[ $pattern == [0-9]*:* ]] && { [ "${pattern%%:*}" = "$sm" ] || continue; pattern=${pattern#*:}; }
        # shellcheck disable=SC2053
        [[ $name == $pattern ]] || continue
        kernels=$((kernels + 1))
        if [ "$stores" -gt "${wanted[0]}" ] || [ "$loads" -gt "${wanted[1]}" ]; then
            fail "$stores narrow stores and $loads narrow loads, ${wanted[0]} and ${wanted[1]} at most"
        fi
        found="$mma $ldsm $copies $bars"
        if [ "${wanted[2]}" != - ] && [ "$found" != "${wanted[*]:2:4}" ]; then
            fail "$found products, loads, copies and barriers in an iteration, not ${wanted[*]:2:4}"
        fi
        if [ "${wanted[6]}" != - ] && ! awk "BEGIN { exit !(\"$epilogue\" != \"-\" && $epilogue + 0 <= ${wanted[6]}) }"; then
            fail "$epilogue instructions for 16 bytes of output, ${wanted[6]} at most"
        fi
        break
    done
done < <(find "$build" -path '*thaw_kernels_cuda*' -regex '.*/\(conv_[a-z0-9]*\|separable\|depthwise\|pool\|layout\|layer_norm\|elementwise\).cu.o' | while read -r object; do measure "$object"; done)
echo "cuda_sass: $kernels kernels compared, $failed failed"
[ "$failed" -eq 0 ] && [ "$kernels" -gt 0 ]

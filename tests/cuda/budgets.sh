#!/usr/bin/env bash
# Holds every CUDA kernel, on every architecture that was built, to the budgets in budgets.txt.
#
#     budgets.sh BUILD_FOLDER        needs the .usage files that keep_usage.sh left there
set -euo pipefail
build=$1
table=$(dirname "$0")/budgets.txt

patterns=() limits=()
while read -r line; do
    [[ $line =~ ^(#.*)?$ ]] && continue
    [[ $line =~ ^(.*[^[:space:]])[[:space:]]+([0-9]+)[[:space:]]+([0-9]+)$ ]] || {
        echo "$table: '$line' is not: kernel, threads, blocks"
        exit 1
    }
    limit=$((65536 / (BASH_REMATCH[2] * BASH_REMATCH[3]) / 8 * 8))
    patterns+=("${BASH_REMATCH[1]}")
    limits+=($((limit > 255 ? 255 : limit)))
done <"$table"

# kernel | architecture | stack bytes | spilled bytes | registers, with those of functions that it calls
usage=$(find "$build" -name '*.cu.o.usage' -exec cat {} + | c++filt | awk '
    function tell() { if (name != "") print name "|" sm "|" stack "|" spills "|" registers }
    /Compiling entry function/ {
        tell()
        stack = spills = 0
        name = $0; sub(/.*entry function ./, "", name); sub(/. for .sm_.*/, "", name)
        sub(/^void /, "", name); gsub(/thaw::/, "", name)
        if (!sub(/>\(.*/, ">", name)) sub(/\(.*/, "", name) # Template arguments have parentheses, too.
        sm = $0; sub(/.*sm_/, "", sm); sub(/[^0-9].*/, "", sm)
    }
    /bytes stack frame/ { stack += $1; spills += $5 + $9 }
    /Used [0-9]+ registers/ { match($0, /Used [0-9]+/); registers = substr($0, RSTART + 5, RLENGTH - 5) }
    END { tell() }')
[ -n "$usage" ] || { echo "$build holds no .usage file of a kernel"; exit 1; }

kernels=0 failed=0
declare -A used unknown
while IFS='|' read -r name sm stack spills registers; do
    kernels=$((kernels + 1)) decided=
    for i in "${!patterns[@]}"; do
        # shellcheck disable=SC2053
        [[ $name == ${patterns[i]} || $sm:$name == ${patterns[i]} ]] || continue
        used[$i]=1
        [ -n "$decided" ] && continue
        decided=1
        if [ "$registers" -gt "${limits[i]}" ] || [ "$spills" -gt 0 ] || [ "$stack" -gt 0 ]; then
            echo "FAILED: $name on sm_$sm uses $registers registers of ${limits[i]}, a stack of $stack bytes, spills $spills bytes"
            failed=$((failed + 1))
        fi
    done
    [ -z "$decided" ] || continue
    [ -n "${unknown[$name]:-}" ] || echo "FAILED: $name has no row in $table"
    unknown[$name]=1
    failed=$((failed + 1))
done <<<"$usage"
for i in "${!patterns[@]}"; do
    [ -n "${used[$i]:-}" ] && continue
    # A row for an architecture that was not built matches nothing.
    [[ ${patterns[i]} =~ ^([0-9]+): && $'\n'$usage != *"|${BASH_REMATCH[1]}|"* ]] && continue
    echo "FAILED: '${patterns[i]}' matches no kernel any more: take the row out of $table"
    failed=$((failed + 1))
done
echo "budgets: $kernels kernels compared, $failed failed"
[ "$failed" -eq 0 ]

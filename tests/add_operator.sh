#!/usr/bin/env bash
# The README's steps "To add an operator" and "To add a kind of step", taken in a copy of the sources
# with an operator Noop and a step `noop` that do nothing: they build, and a network with a Noop runs
# as it does without. The files that the README names there are those that were edited.
#
#   add_operator.sh SOURCE BUILD    BUILD: a build of SOURCE; its onednn folder is used again
set -euo pipefail
source=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
fail() {
    echo "add_operator.sh: $*" >&2
    exit 1
}

# A file's edit: a line behind the first one that matches.
insert_behind() { sed -i "0,/$2/s//&\n$3/" "$1"; }

copy=$here/thaw
mkdir "$copy"
(cd "$source" && tar -cf - CMakeLists.txt base kernels engine host datasets train.ini) | tar -C "$copy" -xf -
cd "$copy"
edited=()
edit() {
    [ -e "$1" ] && cp "$1" "$here/before"
    "${@:2}"
    cmp -s "$1" "$here/before" && fail "$1 was not changed"
    edited+=("$1")
}

name_operator() { sed -i 's/^    X(Mul) .*/&\n    X(Noop)               \\/' engine/graph/ops.h; }
write_row() {
    cat >>engine/graph/ops/elementwise.c <<'ROW'

static thaw_status lower_noop(thaw_lowering *l, const thaw_node *node, thaw_error *err) {
    return thaw__lower_step_for(l, THAW_STEP_noop, node, 1) ? THAW_OK
                                                            : thaw__lower_no_memory(node, err);
}

const thaw_op thaw_op_Noop = {.type = "Noop", .infer = thaw__op_infer_unary, .lower = lower_noop};
ROW
}
name_step() { insert_behind kernels/kernels.h '#define THAW_STEP_LIST(X).*' '    X(noop, "y = x") \\'; }
write_slot() { insert_behind kernels/cpu/table.c ' *ONEDNN(reshape),' '            ONEDNN(noop),'; }
write_kernel() {
    cat >kernels/cpu/noop.c <<'KERNEL'
/* y = x, in the same layout. */
#include "onednn.h"

int cpu_noop_prepare(thaw_step *step, const thaw_plan_context *plan, struct thaw_error *err) {
    cpu_builder builder;
    CPU_TRY(cpu_begin(&builder, step, plan, err));
    cpu_md x = cpu_layout(step->in[0]);
    dnnl_primitive_desc_t desc;
    CPU_TRY(cpu_copy_desc(&builder, x, x, &desc));
    cpu_call *call;
    CPU_TRY(cpu_add_call(&builder, desc, &call));
    CPU_TRY(cpu_bind_port(&builder, call, DNNL_ARG_FROM, step->in[0]));
    CPU_TRY(cpu_bind_port_as(&builder, call, DNNL_ARG_TO, step->out, x));
    return cpu_set_output(&builder, x);
}
KERNEL
}
edit engine/graph/ops.h name_operator
edit engine/graph/ops/elementwise.c write_row
edit kernels/kernels.h name_step
edit kernels/cpu/table.c write_slot
edit kernels/cpu/noop.c write_kernel

# Every file that the numbered steps name, NAME standing for the step's.
named=$(sed -n '/^\*\*To add an operator/,/^## /p' "$source/README.md" | grep -A2 '^[0-9]\. ' |
    grep -oE '`[a-z]+/[a-zA-Z_/]+\.[ch]`' | tr -d '`' | sed 's/NAME/noop/' | sort -u)
[ "$named" = "$(printf '%s\n' "${edited[@]}" | sort -u)" ] ||
    fail "the README names $(echo $named); edited were ${edited[*]}"

[ -d "$build/onednn" ] && mkdir "$here/build" && cp -r "$build/onednn" "$here/build/"
cmake -S . -B "$here/build" -DTHAW_CUDA=OFF -DTHAW_TESTS=OFF >"$here/log" 2>&1 || fail "$(tail -n 20 "$here/log")"
cmake --build "$here/build" --parallel "$(nproc)" --target thaw >"$here/log" 2>&1 ||
    fail "it does not build: $(grep -A5 -E 'error|undefined' "$here/log" | head -n 20)"

# A network in which every Relu is a Noop: names of four letters, so no length in the file changes.
model=$source/tests/data/onnx/residuals.onnx
grep -q Relu "$model" || fail "$model has no Relu"
sed 's/Relu/Noop/g' "$model" >"$here/noop.onnx"
"$build/thaw" inspect "$here/noop.onnx" --plan >"$here/out" 2>&1 && fail "a thaw without the operator takes it"
grep -q 'Noop' "$here/out" || fail "it is refused without its name: $(cat "$here/out")"
"$here/build/thaw" inspect "$here/noop.onnx" --plan --device=cpu >"$here/out" 2>&1 || fail "$(cat "$here/out")"
grep -q '^ *[0-9]*  noop ' "$here/out" || fail "no step runs it: $(cat "$here/out")"
echo "add_operator.sh: 5 edits, one operator and one kind of step"

#!/usr/bin/env bash
# Runs a CUDA compiler and keeps what ptxas says of registers and spills beside the object file, as
# OBJECT.usage; everything else that the compiler says is passed on. See budgets.sh.
object=
previous=
for argument in "$@"; do
    [ "$previous" = -o ] && object=$argument
    previous=$argument
done
[[ $object == *.o ]] || exec "$@"
"$@" -Xptxas -v 2>"$object.usage"
status=$?
grep -vE '^ptxas info|bytes stack frame|^$' "$object.usage" >&2
exit $status

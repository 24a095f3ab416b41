#!/bin/sh
# Runs a Python test: with THAW_PYTHON, or with python3 where that has what the test imports.
# Exit code 77, skipped, when neither does.
python=${THAW_PYTHON:-python3}
missing=$("$python" -c 'import numpy, onnx, onnxruntime, PIL' 2>&1) || {
    echo "SKIPPED: $python cannot run $1: $(echo "$missing" | tail -n 1)"
    echo "         ./thaw test makes a Python that can; or set THAW_PYTHON"
    exit 77
}
exec "$python" "$@"

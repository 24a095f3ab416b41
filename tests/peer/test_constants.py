"""What Thaw computes of constants at import, beside ONNX Runtime: each operator of fold.c's table.

usage: test_constants.py GRAPH-FEATURES

A case is an operator on constant inputs, float, int64 or bool. In its network the result, cast to
float and flattened, is added to a dense layer of zeros, so that the features are the result; ONNX
Runtime runs the same file. Float results may differ by a few roundings of a float, int64 and bool
ones not at all. A row of the table without a case fails, and so does a case that Thaw refuses.
"""
import re
import subprocess
import sys
import tempfile
import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto as T, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 3e-7
random = np.random.default_rng(5)

I = lambda *numbers: np.array(numbers, np.int64)  # noqa: E731
F = lambda *dims: random.uniform(-2, 2, dims).astype(np.float32)  # noqa: E731
P = lambda *dims: random.uniform(0.1, 2, dims).astype(np.float32)  # noqa: E731
B = lambda *dims: random.integers(0, 2, dims).astype(bool)  # noqa: E731
S = lambda number: np.array(number, np.int64)  # noqa: E731: a scalar
N = None  # An input that is absent.


def case(op, *inputs, opset=17, outputs=1, look=0, **attributes):
    return op, inputs, opset, outputs, look, attributes


def cases():
    x, y, whole = F(2, 3, 4), F(3, 1), random.integers(-9, 9, (2, 3)).astype(np.int64)
    for op in "Abs Ceil Cos Erf Exp Floor Neg Relu Sigmoid Sign Sin Softplus Tanh Identity".split():
        yield case(op, x)
    for op in ("Log", "Reciprocal", "Sqrt"):
        yield case(op, P(3, 5))
    yield case("Round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.4, 2.6], np.float32))
    for op in ("Abs", "Neg", "Sign"):
        yield case(op, whole)
    yield case("Not", B(2, 3))
    for op in ("Add", "Sub", "Mul", "Div"):
        yield case(op, x, y)
        yield case(op, F(4), F(2, 3, 4))
        yield case(op, F(1)[0], x)
        yield case(op, whole, I(2, -3, 5))
    yield case("Pow", P(2, 3), F(3))
    yield case("Pow", P(2, 3), I(2, 0, 3))
    yield case("Pow", I(2, -3, 0), I(5, 3, 0))
    yield case("Mod", whole, I(4, -3, 5))
    yield case("Mod", F(2, 3), F(3), fmod=1)
    for op in ("Max", "Min", "Sum", "Mean"):
        yield case(op, x, y, F(4))
        yield case(op, x)
    yield case("Max", whole, I(1, 2, 3))
    yield case("Min", whole, I(1, 2, 3))
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        yield case(op, whole, I(1, 0, -2))
        yield case(op, np.array([1, 2, 3], np.float32), np.array([[1, 3, 3], [0, 2, 4]], np.float32))
    for op in ("And", "Or", "Xor"):
        yield case(op, B(2, 3), B(3))
    yield case("Where", B(2, 1, 4), F(3, 1), F(4))
    yield case("Where", B(3), I(1, 2, 3), whole)
    yield case("Clip", x, F(1)[0] * 0 - 1, F(1)[0] * 0 + 1)
    yield case("Clip", x, N, F(1)[0] * 0 + 1)
    yield case("Clip", whole, S(-2), S(3))
    yield case("Clip", x, opset=9, min=-0.5, max=0.25)
    yield case("Cast", x, to=T.INT64)
    yield case("Cast", whole, to=T.FLOAT)
    yield case("Cast", whole, to=T.BOOL)
    yield case("Cast", np.array([0, 0.5, -3], np.float32), to=T.BOOL)
    yield case("CastLike", whole, F(1))
    yield case("Dropout", x)
    bytes_ = random.integers(-128, 128, (2, 3, 4)).astype(np.int8)
    yield case("DequantizeLinear", bytes_, np.float32(0.03))
    yield case("DequantizeLinear", bytes_, P(3), random.integers(-9, 9, 3).astype(np.int8))
    yield case("DequantizeLinear", (bytes_.astype(np.int16) + 128).astype(np.uint8), P(4), np.full(4, 128, np.uint8), axis=-1)
    yield case("Concat", F(2, 3, 4), F(2, 1, 4), F(2, 2, 4), axis=1)
    yield case("Concat", I(1, 2), I(3), axis=-1)
    yield case("ConstantOfShape", I(2, 3))
    yield case("ConstantOfShape", I(4), value=numpy_helper.from_array(I(7)))
    yield case("ConstantOfShape", I(2, 2), value=numpy_helper.from_array(np.array([2.5], np.float32)))
    yield case("Expand", F(3, 1), I(2, 1, 4))
    yield case("Expand", F(3, 4), I(1))
    for axis in (0, 1, 2, 3, -1):
        yield case("Flatten", x, axis=axis)
    yield case("Gather", x, I(2, -1, 0), axis=1)
    yield case("Gather", x, np.array([[0, 1], [1, 0]], np.int64), axis=0)
    yield case("Gather", I(5, 6, 7), S(-2))
    yield case("Pad", x, I(1, 0, 2, 0, 3, 1))
    yield case("Pad", x, I(0, 1, 0, 0, 0, 1), F(1)[0])
    yield case("Pad", whole, I(0, 1, 1, 0), S(-4))
    yield case("Pad", x, I(1, 2), N, I(2), opset=18)
    yield case("Pad", x, opset=9, pads=[0, 1, 0, 1, 0, 2], value=1.5)
    yield case("Range", S(2), S(11), S(3))
    yield case("Range", S(5), S(-4), S(-2))
    yield case("Range", np.float32(0), np.float32(1), np.float32(0.25))
    yield case("Size", x)
    yield case("Slice", x, I(0, 1), I(2, 3), I(0, 2))
    yield case("Slice", x, I(-1), I(-100), I(1), I(-1))
    yield case("Slice", x, I(3), I(0), I(2), I(-2))
    yield case("Slice", x, I(1), I(2**62), I(-1), I(2))
    yield case("Slice", I(1, 2, 3, 4), I(-3), I(-1))
    yield case("Slice", x, opset=9, starts=[1, 0], ends=[9, 2], axes=[1, 2])
    for look in (0, 1):
        yield case("Split", F(2, 5, 3), I(2, 3), outputs=2, look=look, axis=1)
        yield case("Split", F(4, 3), outputs=2, look=look, axis=0)
        yield case("Split", F(2, 5), outputs=2, look=look, axis=1, num_outputs=2, opset=18)
        yield case("Split", F(2, 5), outputs=2, look=look, axis=1, split=[4, 1], opset=11)
    yield case("Tile", F(2, 3), I(2, 3))
    yield case("Transpose", x, perm=[2, 0, 1])
    yield case("Transpose", x)
    for op in "Max Min Mean Sum Prod L1 L2 SumSquare".split():
        old = {"opset": 12 if op == "Sum" else 17}
        yield case("Reduce" + op, x, axes=[0, 2], keepdims=0, **old)
        yield case("Reduce" + op, x, axes=[-1], keepdims=1, **old)
        yield case("Reduce" + op, x, keepdims=0, **old)
        yield case("Reduce" + op, x, I(1), opset=18)
    yield case("ReduceSum", whole, I(0), keepdims=0)
    yield case("ReduceSum", x, keepdims=1, noop_with_empty_axes=1)
    yield case("ReduceProd", I(3, 4, 5), keepdims=0)
    yield case("MatMul", F(3, 5), F(5, 2))
    yield case("MatMul", F(2, 3, 4, 5), F(5, 2))
    norm = F(3), F(3), F(3), P(3)
    yield case("BatchNormalization", F(2, 3, 4), *norm)
    yield case("BatchNormalization", F(2, 3, 4), *norm, outputs=3, training_mode=1, epsilon=1e-3)


def write_network(path, op, inputs, opset, outputs, look, attributes):
    constants, names = [], []
    for i, array in enumerate(inputs):
        names.append("" if array is None else f"in{i}")
        if array is not None:
            constants.append(numpy_helper.from_array(np.asarray(array), f"in{i}"))
    results = [f"out{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, names, results, "tested", **attributes)]
    # How many numbers there are is known from a run of the operator alone.
    n = int(np.size(run_alone(nodes[0], constants, opset, look)))
    constants += [
        numpy_helper.from_array(I(1, -1), "flat"),
        numpy_helper.from_array(np.zeros((48, n), np.float32), "zeros"),
        numpy_helper.from_array(I(n), "count"),
    ]
    nodes += [
        helper.make_node("Cast", [results[look]], ["real"], to=T.FLOAT),
        helper.make_node("Reshape", ["real", "count"], ["bias"]),
        helper.make_node("Flatten", ["x"], ["row"]),
        helper.make_node("MatMul", ["row", "zeros"], ["nothing"]),
        helper.make_node("Add", ["nothing", "bias"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "constants",
        [helper.make_tensor_value_info("x", T.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", T.FLOAT, ["N", n])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return n


def quiet_session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_alone(node, constants, opset, look):
    out = helper.make_empty_tensor_value_info(node.output[look])
    graph = helper.make_graph([node], "alone", [], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return quiet_session(model.SerializeToString()).run([node.output[look]], {})[0]


def rows_of_the_table():
    text = (ROOT / "engine/graph/ops/fold.c").read_text()
    table = text[text.index("static const thaw_fold table[]") :]
    return set(re.findall(r'^ *\{"(\w+)",', table[: table.index("};")], re.M))


def main():
    worker = subprocess.Popen([sys.argv[1], "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    failed, ran, tested = 0, 0, set()
    with tempfile.TemporaryDirectory() as folder:
        network, pixels, features = (f"{folder}/{name}" for name in ("n.onnx", "p", "f"))
        np.zeros((3, 4, 4, 3), np.uint8).tofile(pixels)
        for op, inputs, opset, outputs, look, attributes in cases():
            ran += 1
            tested.add(op)
            what = f"{op} {[None if i is None else np.shape(i) for i in inputs]} opset {opset} {attributes}"
            n = write_network(network, op, inputs, opset, outputs, look, attributes)
            x = np.full((3, 3, 4, 4), -2, np.float32)
            want = quiet_session(network).run(["y"], {"x": x})[0]
            worker.stdin.write(f"{network} {pixels} {features} map\n")
            worker.stdin.flush()
            said = worker.stdout.readline().strip()
            if not said.startswith("ok"):
                print(f"FAILED: {what}: {said or 'the worker has ended'}")
                failed += 1
                if not said:
                    break
                continue
            got = np.fromfile(features, np.float32).reshape(3, n)
            exact = np.asarray(inputs[0]).dtype != np.float32
            away = np.abs(got - want) / np.maximum(np.abs(want), 1)
            if not np.max(away, initial=0) <= (0 if exact and op != "Pow" else TOLERANCE):
                print(f"FAILED: {what}: {got[0][:6]}, ONNX Runtime has {want[0][:6]}")
                failed += 1
    for op in sorted(rows_of_the_table() ^ tested):
        print(f"FAILED: {op} is in the table or among the cases, not in both")
        failed += 1
    print(f"test_constants: {ran} cases of {len(tested)} operators, {failed} failed")
    sys.exit(failed > 0 or ran == 0)


if __name__ == "__main__":
    main()

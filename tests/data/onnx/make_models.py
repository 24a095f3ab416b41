#!/usr/bin/env python3
"""Makes the small ONNX files that test_onnx.c reads, each with what ONNX Runtime makes of it.

    python3 make_models.py [GROUP...]  (needs onnx, onnxruntime, numpy; torch for torch_networks)

GROUP: functions below that make files; without any, all of them run.


name.onnx    the network. One file a feature of the format, at the opset where exporters use it.
name.expect  "THAWEXP1"; int32 images, channels, height, width, taps; u8 pixels [n,h,w,c]; for each
             tap the tensor's name (128 bytes, NUL-padded), int32 h, w, c, float [n,h,w,c].
             The first tap is the cut that training stands on. Pixels enter as x / 64 - 2.

Weights come from a fixed seed. A network in training form (batch statistics, dropout) is expected
to do what its inference form does: that one is the `twin` that ONNX Runtime is given.
"""
import io
import os
import struct
import sys
import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(1)
made = []


# ---- building -------------------------------------------------------------------------------


class Net:
    """A graph under construction; op() returns the name of the first output."""

    def __init__(self, opset, channels=3, size=12, batch="N", nhwc=False, ir=None, width=None):
        self.opset, self.nodes, self.inits, self.count = opset, [], [], 0
        shape = [batch, channels, size, width or size]
        if nhwc:
            shape = [batch, size, width or size, channels]
        self.shape, self.nhwc, self.batch = shape, nhwc, batch
        self.ir = ir or (4 if opset <= 9 else 8 if opset < 19 else 9)

    def const(self, array, name=None, **kind):
        array = np.asarray(array)
        name = name or f"c{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(array, name))
        return name

    def op(self, type_, *inputs, out=None, n_out=1, **attrs):
        self.count += 1
        outs = [out or f"t{self.count}"] + [f"t{self.count}_{i}" for i in range(1, n_out)]
        self.nodes.append(helper.make_node(type_, list(inputs), outs, f"{type_}_{self.count}", **attrs))
        return outs[0]

    def weights(self, *shape):
        fan = int(np.prod(shape[1:])) or 1
        return self.const(rng.normal(0, (2.0 / fan) ** 0.5, shape).astype(np.float32))

    def vector(self, n, low=-0.5, high=0.5):
        return self.const(rng.uniform(low, high, n).astype(np.float32))

    def conv(self, x, c, k, r=3, bias=True, group=1, **attrs):
        r = r if isinstance(r, tuple) else (r, r)
        ins = [x, self.weights(k, c // group, *r)] + ([self.vector(k)] if bias else [])
        return self.op("Conv", *ins, group=group, kernel_shape=list(r), **attrs)

    def bn(self, x, c, n_out=1, **attrs):
        return self.op("BatchNormalization", x, self.vector(c, 0.5, 1.5), self.vector(c),
                       self.vector(c), self.vector(c, 0.5, 2), n_out=n_out, **attrs)

    def gemm(self, x, c, k, **attrs):
        return self.op("Gemm", x, self.weights(k, c), self.vector(k), transB=1, **attrs)

    def head(self, x, c, k=5):
        """Global mean and classifier; returns (flat features, scores)."""
        flat = self.op("Flatten", self.op("GlobalAveragePool", x), axis=1)
        return flat, self.gemm(flat, c, k)

    def model(self, output, inits_as_inputs=False):
        maker = next(n for n in self.nodes if output in n.output)
        out_shape = [self.batch] + ["a", "b", "c"][:1 if maker.op_type in ("Gemm", "Softmax") else 3]
        inputs = [helper.make_tensor_value_info("x", T.FLOAT, self.shape)]
        if inits_as_inputs:
            inputs += [helper.make_tensor_value_info(i.name, i.data_type, list(i.dims)) for i in self.inits]
        graph = helper.make_graph(self.nodes, "g", inputs,
                                  [helper.make_tensor_value_info(output, T.FLOAT, out_shape)], self.inits)
        m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)],
                              producer_name="make_models")
        m.ir_version = self.ir
        return m


def run(model, taps, pixels, fixed):
    """What ONNX Runtime computes at the taps, as NHWC (or N,C)."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    have = {o.name for o in m.graph.output}
    for tap in taps:
        if tap not in have and tap != "x":
            m.graph.output.append(helper.make_tensor_value_info(tap, T.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x = pixels.astype(np.float32) / np.float32(64) - np.float32(2)
    info = next(i for i in session.get_inputs() if i.name == model.graph.input[0].name)
    if not (info.shape[3] == pixels.shape[3] and info.shape[1] == pixels.shape[1]):
        x = x.transpose(0, 3, 1, 2)
    step = 1 if fixed else len(x)
    parts = [session.run(taps, {info.name: np.ascontiguousarray(x[i:i + step])})
             for i in range(0, len(x), step)]
    return [np.concatenate([p[k] for p in parts]) for k in range(len(taps))]


def emit(name, model, *taps, twin=None, images=2, fixed=False, nhwc=False, save=None, open_size=None,
         nhwc_tap=False):
    """nhwc: the input is; nhwc_tap: the taps are. open_size: of the pictures, where the file has none."""
    if not save:
        onnx.checker.check_model(model)
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    h, w, c = (dims[1], dims[2], dims[3]) if nhwc else (dims[2], dims[3], dims[1])
    h, w = open_size or (h, w)
    pixels = np.random.default_rng(7).integers(0, 256, (images, h, w, c), dtype=np.uint8)
    results = run(twin or model, list(taps), pixels, fixed)
    with open(os.path.join(HERE, name + ".expect"), "wb") as f:
        f.write(b"THAWEXP1" + struct.pack("<5i", images, c, h, w, len(taps)) + pixels.tobytes())
        for tap, y in zip(taps, results):
            if not nhwc_tap:
                y = y.transpose(0, 2, 3, 1) if y.ndim == 4 else y.reshape(images, 1, 1, -1)
            f.write(tap.encode().ljust(128, b"\0") + struct.pack("<3i", *y.shape[1:]))
            f.write(np.ascontiguousarray(y, dtype="<f4").tobytes())
    path = os.path.join(HERE, name + ".onnx")
    if save:
        save(path)
    else:
        with open(path, "wb") as f:
            f.write(model.SerializeToString())
    made.append(name)


# ---- one file a feature ---------------------------------------------------------------------


def convolutions():
    cases = {
        "same_upper": dict(auto_pad="SAME_UPPER", strides=[2, 2]),
        "same_lower": dict(auto_pad="SAME_LOWER", strides=[2, 2]),
        "valid": dict(auto_pad="VALID"),
        "asymmetric": dict(pads=[0, 1, 2, 3]),
        "dilated": dict(dilations=[2, 3], pads=[2, 3, 2, 3]),
        "no_bias": dict(bias=False, pads=[1, 1, 1, 1]),
        "1x7": dict(r=(1, 7), pads=[0, 3, 0, 3]),
        "5x2_s13": dict(r=(5, 2), strides=[1, 3], pads=[2, 0, 2, 1]),
    }
    for opset, (name, attrs) in zip((7, 9, 10, 11, 12, 13, 18, 22), cases.items()):
        n = Net(opset, size=11, width=13)
        y = n.conv("x", 3, 6, **attrs)
        emit(f"conv_{name}", n.model(y), y)
    n = Net(16)
    y = n.op("Relu", n.conv("x", 3, 8, pads=[1] * 4))
    y = n.op("Relu", n.conv(y, 8, 12, group=4, pads=[1] * 4))
    y = n.conv(y, 12, 12, group=12, pads=[1] * 4, strides=[2, 2])
    y = n.conv(y, 12, 24, group=12, r=5, pads=[2] * 4)  # two filters a channel
    emit("conv_grouped", n.model(y), y)
    n = Net(13, channels=1, size=9)
    y = n.op("Relu", n.conv("x", 1, 5, auto_pad="NOTSET", pads=[1] * 4))
    emit("conv_grey", n.model(y), y)


def normalisations():
    n = Net(9)  # the common case: folded into the convolution
    y = n.op("Relu", n.bn(n.conv("x", 3, 7, bias=False, pads=[1] * 4), 7, epsilon=1e-3))
    emit("bn_after_conv", n.model(y), y)
    n = Net(7)  # pre-activation: nothing before it to fold into but the pixels
    y = n.op("Relu", n.bn("x", 3))
    a = n.conv(y, 3, 6, pads=[1] * 4)
    y = n.op("Relu", n.bn(n.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 6))
    y = n.op("Add", n.conv(y, 6, 6, pads=[1] * 4), n.conv(y, 6, 6, r=1))
    y = n.op("Relu", n.bn(y, 6))
    emit("bn_alone", n.model(y), y)
    # Training form: opset 14's flag and three outputs; before that, five outputs and no flag.
    for opset, kind in ((14, dict(training_mode=1, n_out=3)), (9, dict(n_out=5))):
        nets = []
        for form in (kind, {}):
            rng.bit_generator.state = np.random.default_rng(5).bit_generator.state  # equal weights
            n = Net(opset)
            y = n.op("Relu", n.bn(n.conv("x", 3, 6, pads=[1] * 4), 6, **form))
            y = n.op("Relu", n.bn(n.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), 6, **form))
            flat = n.op("Flatten", n.op("GlobalAveragePool", y))
            if form and opset >= 12:
                drop = n.op("Dropout", flat, n.const(np.float32(0.5)), n.const(np.bool_(True)), n_out=2)
            else:
                drop = n.op("Dropout", flat, n_out=2) if opset >= 12 else n.op("Dropout", flat, ratio=0.5)
            nets.append((n.model(n.gemm(drop, 6, 4)), flat))
        emit(f"bn_training_{opset}", nets[0][0], nets[0][1], twin=nets[1][0])


def activations():
    for opset in (7, 10):
        n = Net(opset)
        y = n.op("Clip", n.conv("x", 3, 6), min=0.0, max=6.0)
        y = n.op("Clip", n.conv(y, 6, 6), min=-1.0)  # one side
        emit(f"clip_attr_{opset}", n.model(y), y)
    n = Net(11)
    lo, hi = n.const(np.float32(0)), n.const(np.float32(1.5))
    y = n.op("Clip", n.conv("x", 3, 6), lo, hi)
    y = n.op("Clip", n.conv(y, 6, 6), "", hi)
    y = n.op("Clip", n.conv(y, 6, 6), lo)
    y = n.op("Clip", n.conv(y, 6, 6))  # no bound at all
    y = n.op("Clip", n.conv(y, 6, 6), n.const(np.float32(-np.finfo(np.float32).max)), hi)
    emit("clip_input", n.model(y), y)
    n = Net(16)
    y = n.conv("x", 3, 6)
    for type_, attrs in (("LeakyRelu", dict(alpha=0.1)), ("Sigmoid", {}), ("Tanh", {}), ("HardSwish", {}),
                         ("HardSigmoid", dict(alpha=0.3, beta=0.4)), ("LeakyRelu", {}), ("HardSigmoid", {})):
        y = n.op(type_, n.conv(y, 6, 6, r=1), **attrs)
        y = n.op(type_, n.op("MaxPool", y, kernel_shape=[1, 2]), **attrs)  # not after a layer: its own step
    emit("activations", n.model(y), y)
    n = Net(13)  # SiLU as exporters write it: after a layer, and after something else; both orders
    a = n.conv("x", 3, 8)
    y = n.op("Mul", a, n.op("Sigmoid", a))
    p = n.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = n.op("Mul", n.op("Sigmoid", p), p)
    b = n.conv(y, 8, 8, pads=[1] * 4)
    s = n.op("Sigmoid", b)  # read twice: not an activation that can melt away
    y = n.op("Add", n.op("Mul", b, s), s)
    emit("silu", n.model(y), y)
    n = Net(11)
    a = n.conv("x", 3, 8)
    y = n.op("Mul", a, n.op("HardSigmoid", a, alpha=1 / 6, beta=0.5))
    b = n.conv(y, 8, 8)
    y = n.op("Mul", b, n.op("HardSigmoid", b, alpha=0.2, beta=0.5))  # not HardSwish's numbers
    emit("hardswish_pattern", n.model(y), y)


def pools():
    windows = [
        ("max_ceil", "MaxPool", 10, 12, dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)),
        ("max_ceil_pad", "MaxPool", 12, 11, dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)),
        ("max_pads_0022", "MaxPool", 8, 12, dict(kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])),
        ("max_same", "MaxPool", 12, 13, dict(kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")),
        ("max_dilated", "MaxPool", 12, 13, dict(kernel_shape=[3, 2], dilations=[2, 3])),
        ("avg", "AveragePool", 7, 13, dict(kernel_shape=[2, 3], strides=[2, 1])),
        ("avg_pad", "AveragePool", 11, 12, dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)),
        ("avg_include", "AveragePool", 11, 12,
         dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)),
        ("avg_ceil", "AveragePool", 19, 12, dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)),
        ("avg_ceil_pad_include", "AveragePool", 19, 12,
         dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1)),
        ("avg_ceil_pad", "AveragePool", 19, 12,
         dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1)),
    ]
    for name, type_, opset, size, attrs in windows:
        n = Net(opset, size=size)
        y = n.op(type_, n.conv("x", 3, 5, r=1), **attrs)
        emit("pool_" + name, n.model(y), y)


def pads_and_means():
    n = Net(10)
    y = n.op("Pad", "x", pads=[0, 0, 1, 2, 0, 0, 3, 0])
    y = n.op("Relu", n.conv(y, 3, 6))
    y = n.op("Pad", y, pads=[0] * 8)
    emit("pad_attr", n.model(y), n.nodes[-2].output[0])
    n = Net(13)
    pads = n.const(np.array([0, 0, 1, 0, 0, 0, 1, 2], np.int64))
    y = n.op("Pad", n.conv("x", 3, 6), pads, n.const(np.float32(0)))
    y = n.op("MaxPool", n.op("Relu", y), kernel_shape=[2, 2])  # the border stays a step of its own
    y = n.op("AveragePool", n.op("Pad", y, pads), kernel_shape=[3, 3], strides=[2, 2])
    emit("pad_input", n.model(y), y)
    n = Net(18)
    pads, axes = n.const(np.array([1, 2, 0, 1], np.int64)), n.const(np.array([3, 2], np.int64))
    y = n.conv(n.op("Pad", "x", pads, "", axes), 3, 6)
    emit("pad_axes", n.model(y), y)
    for opset, keep in ((11, 1), (13, 0)):
        n = Net(opset)
        y = n.op("Relu", n.conv("x", 3, 6))
        m = n.op("ReduceMean", y, axes=[2, 3] if keep else [-1, -2], keepdims=keep)
        f = n.op("Flatten", m) if keep else m
        emit(f"mean_attr_{opset}", n.model(n.gemm(f, 6, 4)), m)
    n = Net(18)
    m = n.op("ReduceMean", n.op("Relu", n.conv("x", 3, 6)), n.const(np.array([2, 3], np.int64)), keepdims=0)
    emit("mean_input", n.model(n.gemm(m, 6, 4)), m)


def vectors():
    def net(opset, **kind):
        n = Net(opset, size=13, **kind)
        return n, n.op("MaxPool", n.op("Relu", n.conv("x", 3, 6)), kernel_shape=[3, 3], strides=[4, 4])  # 6x3x3

    n, y = net(9)
    f = n.op("Flatten", y, axis=1)
    emit("flatten_map", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(13)
    f = n.op("Flatten", y, axis=-3)
    emit("flatten_negative", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(14)
    f = n.op("Reshape", y, n.const(np.array([-1, 54], np.int64)), allowzero=1)
    emit("reshape_allowzero", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(8)
    f = n.op("Reshape", y, n.const(np.array([0, -1], np.int64)))
    emit("reshape_zero_copies", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(11)  # the shape is computed: x.view(x.size(0), -1)
    batch = n.op("Gather", n.op("Shape", y), n.const(np.array(0, np.int32)), axis=0)
    shape = n.op("Concat", n.op("Unsqueeze", batch, axes=[0]), n.op("Constant", value=numpy_helper.from_array(
        np.array([-1], np.int64))), axis=0)
    f = n.op("Reshape", y, shape)
    emit("reshape_chain", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(15)  # the same with Shape's attributes, Slice and a cast
    sizes = n.op("Slice", n.op("Shape", y), n.const(np.array([0], np.int64)), n.const(np.array([1], np.int64)))
    sizes = n.op("Cast", n.op("Concat", sizes, n.op("Constant", value_ints=[-1]), axis=0), to=T.INT64)
    n.op("Shape", y, start=1, end=-1)
    f = n.op("Reshape", y, sizes)
    emit("reshape_slice", n.model(n.gemm(f, 54, 4)), f)
    n, y = net(12, batch=1)  # a file that fixes the batch and writes it into the shape
    f = n.op("Reshape", y, n.const(np.array([1, 54], np.int64)))
    emit("reshape_batch_1", n.model(n.gemm(f, 54, 4)), f, fixed=True)
    for opset in (11, 13):
        n = Net(opset)
        y = n.op("GlobalAveragePool", n.conv("x", 3, 6))
        if opset == 11:
            f = n.op("Squeeze", n.op("Squeeze", y, axes=[3]), axes=[2])
            u = n.op("Unsqueeze", f, axes=[2, 3])
        else:
            f = n.op("Squeeze", y, n.const(np.array([2, 3], np.int64)))
            u = n.op("Unsqueeze", f, n.const(np.array([-1, -2], np.int64)))
        z = n.op("Relu", n.conv(u, 6, 7, r=1))
        emit(f"squeeze_{opset}", n.model(n.gemm(n.op("Flatten", z), 7, 4)), z)


def matrices():
    n = Net(11)
    f = n.op("Flatten", n.op("GlobalAveragePool", n.conv("x", 3, 6)))
    h = n.op("Relu", n.op("Gemm", f, n.weights(6, 9), n.vector(9), alpha=0.5, beta=2.0))
    h = n.op("Gemm", h, n.weights(7, 9), n.const(np.array([0.25], np.float32)), transB=1, alpha=1.5)
    h = n.op("Gemm", h, n.weights(7, 7), transB=1)  # no bias (opset 11)
    emit("gemm_forms", n.model(n.gemm(h, 7, 4)), h)
    n = Net(13)
    f = n.op("Flatten", n.op("GlobalAveragePool", n.conv("x", 3, 6)))
    h = n.op("Sigmoid", n.op("Add", n.op("MatMul", f, n.weights(6, 9)), n.vector(9)))
    h = n.op("Add", n.vector(9), n.op("MatMul", h, n.weights(9, 9)))
    s = n.op("Softmax", n.op("Add", n.op("MatMul", h, n.weights(9, 4)), n.vector(4)))
    emit("matmul_add", n.model(s), h)


def joins():
    n = Net(13)  # squeeze and excite
    y = n.op("Relu", n.conv("x", 3, 17, pads=[1] * 4))
    g = n.op("Relu", n.conv(n.op("GlobalAveragePool", y), 17, 4, r=1))
    y = n.op("Mul", n.op("Sigmoid", n.conv(g, 4, 17, r=1)), y)
    y = n.conv(y, 17, 6)
    emit("se_gate", n.model(y), y)
    n = Net(13)
    a = n.op("Relu", n.conv("x", 3, 17, pads=[1] * 4))
    b, c = n.conv("x", 3, 5, r=1), n.op("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4)
    y = n.op("Concat", a, b, c, "x", axis=1)
    y = n.op("Concat", n.conv(y, 28, 4), axis=1)  # of one
    y = n.op("Concat", y, y, axis=-3)
    emit("concat", n.model(y), y)
    n = Net(13, size=8)  # as many inputs as DenseNet-201's widest block
    parts = [n.conv("x", 3, 1 + i % 3, r=1) for i in range(49)]
    y = n.op("Concat", *parts, axis=1)
    emit("concat_49", n.model(y), y)
    n = Net(13)  # sums that look like residuals and are not quite
    a = n.op("Relu", n.conv("x", 3, 16, pads=[1] * 4))
    b = n.op("Add", n.conv(a, 16, 16, pads=[1] * 4), a)  # the convolution itself reads the residual
    c = n.op("Add", b, b)
    d = n.op("Relu", n.conv(c, 16, 16, pads=[1] * 4))
    e = n.op("Add", n.conv(d, 16, 16, r=1), c)  # a proper one
    f = n.op("Add", e, n.conv(e, 16, 1, r=1))  # broadcast along channels
    g = n.op("Add", n.conv(f, 16, 16, pads=[1] * 4), n.conv(f, 16, 16, r=1))  # two convolutions
    h = n.op("Mul", g, g)
    y = n.op("Add", n.op("Mul", h, n.const(np.float32(0.5))), n.op("MaxPool", g, kernel_shape=[3, 3], pads=[1] * 4))
    emit("residuals", n.model(y), y, e)
    n = Net(10)  # the border of a tensor is read after a sum took that tensor's memory
    a = n.op("Relu", n.conv("x", 3, 16, pads=[1] * 4))
    p = n.op("Pad", a, pads=[0, 0, 1, 1, 0, 0, 1, 1])
    b = n.op("Add", n.conv(n.op("Relu", n.conv(a, 16, 16, r=1)), 16, 16, r=1), a)
    y = n.op("Mul", b, n.conv(p, 16, 16))
    emit("residual_pad", n.model(y), y)


def layer_norms():
    def nhwc(n, x):
        return n.op("Transpose", x, perm=[0, 2, 3, 1])

    def nchw(n, x):
        return n.op("Transpose", x, perm=[0, 3, 1, 2])

    def norm(n, x, c, bias=True, **attrs):
        return n.op("LayerNormalization", x, n.vector(c, 0.5, 1.5), *([n.vector(c)] if bias else []), **attrs)

    def number(n, value):
        return n.const(np.float32(value))

    def gelu(n, x):  # as PyTorch writes it
        y = n.op("Add", n.op("Erf", n.op("Div", x, number(n, 2**0.5))), number(n, 1))
        return n.op("Mul", n.op("Mul", x, y), number(n, 0.5))

    def gelu_half_first(n, x):
        y = n.op("Add", number(n, 1), n.op("Erf", n.op("Mul", x, number(n, 0.5**0.5))))
        return n.op("Mul", x, n.op("Mul", y, number(n, 0.5)))

    def linear(n, x, c, k):
        return n.op("Add", n.vector(k), n.op("MatMul", x, n.weights(c, k)))

    def block(n, x, c, act):  # ConvNeXt's
        y = norm(n, nhwc(n, n.conv(x, c, c, r=7, group=c, pads=[3] * 4)), c, axis=-1, epsilon=1e-6)
        y = nchw(n, linear(n, act(n, linear(n, y, c, 4 * c)), 4 * c, c))
        scale = n.const(rng.uniform(0.1, 1, (c, 1, 1)).astype(np.float32))
        return n.op("Add", n.op("Mul", scale, y), x)

    n = Net(17, size=16)
    y = nchw(n, norm(n, nhwc(n, n.conv("x", 3, 12, r=4, strides=[4, 4])), 12, axis=-1, epsilon=1e-6))
    first = y = block(n, y, 12, gelu)
    y = block(n, y, 12, gelu_half_first)
    y = n.conv(nchw(n, norm(n, nhwc(n, y), 12, axis=3)), 12, 17, r=2, strides=[2, 2])
    last = y = block(n, y, 17, gelu)
    y = n.op("Flatten", nchw(n, norm(n, nhwc(n, n.op("GlobalAveragePool", y)), 17)), axis=1)
    emit("convnext_17", n.model(n.gemm(y, 17, 5)), y, first, last)
    n = Net(20)  # the operator itself; no bias; a vector; half of a GELU is read twice
    y = n.op("Gelu", n.conv("x", 3, 10, r=1))
    y = nchw(n, n.op("Gelu", norm(n, nhwc(n, y), 10, bias=False)))
    flat = n.op("Flatten", n.op("GlobalAveragePool", y), axis=1)
    z = n.op("Gelu", norm(n, n.gemm(flat, 10, 9), 9, axis=1))
    emit("layer_norm_20", n.model(n.gemm(z, 9, 4)), z, y)


def pixels():
    n = Net(13)  # normalisation in the graph, by channel and by number
    mean = n.const(np.array([0.4, -0.3, 0.2], np.float32).reshape(1, 3, 1, 1))
    y = n.op("Div", n.op("Sub", "x", mean), n.const(np.array([0.5, 0.25, 2], np.float32).reshape(3, 1, 1)))
    y = n.op("Mul", y, n.const(np.float32(1.5)))
    y = n.op("Sub", n.const(np.array([0.1], np.float32)), y)
    y = n.conv(y, 3, 6, pads=[1] * 4)
    emit("normalise", n.model(y), y)
    n = Net(15, nhwc=True, width=10)  # TensorFlow
    y = n.op("Transpose", n.op("Identity", "x"), perm=[0, 3, 1, 2])
    y = n.op("Relu", n.conv(y, 3, 6, strides=[2, 2], pads=[0, 0, 1, 1]))
    f = n.op("Squeeze", n.op("GlobalAveragePool", y), n.const(np.array([2, 3], np.int64)))
    s = n.op("Softmax", n.op("Add", n.op("MatMul", f, n.weights(6, 4)), n.vector(4)))
    emit("nhwc", n.model(s), f, nhwc=True)
    n = Net(13, nhwc=True, size=8)  # ... with Keras's Rescaling and Normalization before the transpose
    y = n.op("Mul", "x", n.const(np.float32(0.5)))
    y = n.op("Sub", y, n.const(np.array([0.4, -0.3, 0.2], np.float32)))
    y = n.op("Div", y, n.const(np.array([0.5, 0.25, 2], np.float32).reshape(1, 1, 1, 3)))
    y = n.op("Relu", n.conv(n.op("Transpose", y, perm=[0, 3, 1, 2]), 3, 6))
    emit("nhwc_normalise", n.model(y), y, nhwc=True)


def storage():
    n = Net(7, ir=3)  # initializers are inputs, too
    flat, s = n.head(n.op("Relu", n.conv("x", 3, 6)), 6)
    emit("ir3", n.model(s, inits_as_inputs=True), flat)
    n = Net(13)  # weights in other types, behind Cast
    w = rng.normal(0, 0.3, (6, 3, 3, 3))
    for dtype in (np.float16, np.float64):
        n.const(w.astype(dtype), dtype.__name__)
        n.op("Cast", dtype.__name__, out=dtype.__name__ + "_f", to=T.FLOAT)
    bias = helper.make_tensor("bf16", T.BFLOAT16, [6], [0.5, -0.25, 1, 2, -3, 0.125])
    n.inits.append(bias)
    n.op("Cast", "bf16", out="bf16_f", to=T.FLOAT)
    y = n.op("Conv", "x", "float16_f", "bf16_f")
    y = n.op("Add", y, n.op("Conv", "x", "float64_f"))
    emit("types", n.model(y), y)
    n = Net(12)  # typed fields instead of raw bytes, weights as Constant nodes
    w = rng.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32)
    n.inits.append(helper.make_tensor("typed", T.FLOAT, w.shape, w.ravel().tolist()))
    n.inits.append(helper.make_tensor("half", T.FLOAT16, [6, 6, 1, 1], np.full(36, 0.3, np.float16).tolist()))
    n.inits.append(helper.make_tensor("double", T.DOUBLE, [6], np.linspace(-1, 1, 6).tolist()))
    n.inits.append(helper.make_tensor("shape", T.INT64, [2], [0, -1]))
    y = n.op("Conv", "x", "typed", n.op("Constant", value_floats=np.linspace(-1, 1, 6).tolist()))
    y = n.op("Conv", y, n.op("Cast", "half", to=T.FLOAT), n.op("Cast", "double", to=T.FLOAT))
    y = n.op("Clip", y, n.op("Constant", value_float=-1.0), n.op("Constant", value=helper.make_tensor(
        "", T.FLOAT, [], [2.0])))
    y = n.op("Identity", n.op("Cast", y, to=T.FLOAT))
    f = n.op("Reshape", n.op("GlobalAveragePool", y), "shape")
    emit("typed_fields", n.model(n.gemm(f, 6, 4)), f)
    n = Net(17)  # weights in a file beside the model, one of them in a folder below it
    flat, s = n.head(n.op("Relu", n.conv(n.op("Relu", n.conv("x", 3, 6)), 6, 8)), 8)
    model = n.model(s)

    emit("external", model, flat, save=lambda path: save_outside(model, model.graph.initializer, path))


def save_outside(model, tensors, path):
    """Writes the model with these tensors of it in a file beside it."""
    location = os.path.basename(path).replace(".onnx", ".bin")
    with open(os.path.join(HERE, location), "wb") as data:
        for t in tensors:
            data.write(b"\0" * (-data.tell() % 64))
            t.data_location = T.EXTERNAL
            for k, v in (("location", location), ("offset", data.tell()), ("length", len(t.raw_data))):
                t.external_data.add(key=k, value=str(v))
            data.write(t.raw_data)
            t.ClearField("raw_data")
    with open(path, "wb") as f:
        f.write(model.SerializeToString())


# ---- whole networks -------------------------------------------------------------------------


def torch_networks():
    import torch
    from torch import nn
    import torch.nn.functional as F

    warnings.simplefilter("ignore")
    torch.manual_seed(3)

    def cbr(i, o, k=3, s=1, g=1, act=nn.ReLU):
        layers = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
        return nn.Sequential(*layers, *([act()] if act else []))

    class Basic(nn.Module):
        def __init__(self, i, o, s):
            super().__init__()
            self.a, self.b = cbr(i, o, 3, s), cbr(o, o, 3, 1, act=None)
            self.down = cbr(i, o, 1, s, act=None) if s > 1 or i != o else None

        def forward(self, x):
            return F.relu(self.b(self.a(x)) + (self.down(x) if self.down else x))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.pool = cbr(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1)
            self.blocks = nn.Sequential(Basic(8, 8, 1), Basic(8, 8, 1), Basic(8, 16, 2), Basic(16, 16, 1))
            self.fc = nn.Linear(16, 5)

        def forward(self, x):
            x = self.blocks(self.pool(self.stem(x)))
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    class Inverted(nn.Module):
        def __init__(self, i, o, s, t):
            super().__init__()
            self.skip, act = s == 1 and i == o, nn.ReLU6
            self.f = nn.Sequential(cbr(i, i * t, 1, act=act), cbr(i * t, i * t, 3, s, i * t, act=act),
                                   cbr(i * t, o, 1, act=None))

        def forward(self, x):
            return x + self.f(x) if self.skip else self.f(x)

    class MobileNetV2(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(cbr(3, 8, 3, 2, act=nn.ReLU6), Inverted(8, 6, 1, 1), Inverted(6, 10, 2, 3),
                                   Inverted(10, 10, 1, 3), cbr(10, 20, 1, act=nn.ReLU6))
            self.drop, self.fc = nn.Dropout(0.2), nn.Linear(20, 5)

        def forward(self, x):
            return self.fc(self.drop(self.f(x).mean([2, 3])))

    class Fire(nn.Module):
        def __init__(self, i, s, e):
            super().__init__()
            self.s, self.a, self.b = nn.Conv2d(i, s, 1), nn.Conv2d(s, e, 1), nn.Conv2d(s, e, 3, padding=1)

        def forward(self, x):
            x = F.relu(self.s(x))
            return torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)

    class SqueezeNet(nn.Module):  # the head is a convolution with a mean behind it
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
                                   Fire(8, 4, 6), Fire(12, 4, 8))
            self.head = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(16, 1000, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

        def forward(self, x):
            return torch.flatten(self.head(self.f(x)), 1)

    class VGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.f = nn.Sequential(cbr(3, 6), nn.MaxPool2d(2), cbr(6, 8), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(7))
            self.c = nn.Sequential(nn.Linear(8 * 49, 20), nn.ReLU(), nn.Dropout(), nn.Linear(20, 5))

        def forward(self, x):
            return self.c(torch.flatten(self.f(x), 1))

    class DenseLayer(nn.Module):
        def __init__(self, i):
            super().__init__()
            self.n1, self.c1 = nn.BatchNorm2d(i), nn.Conv2d(i, 8, 1, bias=False)
            self.n2, self.c2 = nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3, padding=1, bias=False)

        def forward(self, xs):
            return self.c2(F.relu(self.n2(self.c1(F.relu(self.n1(torch.cat(xs, 1)))))))

    class DenseNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.pool = cbr(3, 8, 3, 2), nn.MaxPool2d(3, 2, 1)
            self.d1, self.d2, self.d3 = DenseLayer(8), DenseLayer(12), DenseLayer(8)
            self.t = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.AvgPool2d(2))
            self.n, self.fc = nn.BatchNorm2d(12), nn.Linear(12, 5)

        def forward(self, x):
            xs = [self.pool(self.stem(x))]
            xs.append(self.d1(xs))
            xs.append(self.d2(xs))
            xs = [self.t(torch.cat(xs, 1))]
            xs.append(self.d3(xs))
            x = F.relu(self.n(torch.cat(xs, 1)))
            return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))

    def last_input(model):
        """What the classifier reads: the input of the last Gemm, MatMul or Conv."""
        node = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul", "Conv")][-1]
        name = node.input[0]
        skip = {n.output[0]: n.input[0] for n in model.graph.node
                if n.op_type in ("Dropout", "Identity", "Flatten", "Reshape")}
        return skip, name

    for net, size, forms in ((ResNet(), 32, [(9, 1), (13, 0), (17, 1)]), (MobileNetV2(), 32, [(9, 0), (13, 1), (17, 0)]),
                             (SqueezeNet(), 33, [(13, 1)]), (VGG(), 28, [(9, 1), (17, 0)]),
                             (DenseNet(), 32, [(13, 1), (17, 0)])):
        name = type(net).__name__.lower()
        for m in net.modules():  # statistics that are not 0 and 1
            if isinstance(m, nn.BatchNorm2d):
                nn.init.uniform_(m.weight, 0.5, 1.5), nn.init.uniform_(m.bias, -0.5, 0.5)
                m.running_mean.uniform_(-0.5, 0.5), m.running_var.uniform_(0.5, 2)
        for opset, folded in forms:
            file = io.BytesIO()
            net.train(False)
            training = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
            torch.onnx.export(net, (torch.zeros(2, 3, size, size),), file, opset_version=opset, dynamo=False,
                              training=training, do_constant_folding=bool(folded), input_names=["x"],
                              output_names=["scores"], dynamic_axes={"x": {0: "N"}, "scores": {0: "N"}})
            model = onnx.load_from_string(file.getvalue())
            _, tap = last_input(model)
            emit(f"{name}_{opset}{'' if folded else '_bn'}", model, tap, *extra_taps(model))


def extra_taps(model):
    """A few tensors in the middle that are cuts in every network here: the first activation."""
    first = next(n for n in model.graph.node if n.op_type in ("Relu", "Clip"))
    return [first.output[0]]


def reseed(seed):
    """So that a group's weights do not depend on what was made before it."""
    rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def vector_arithmetic():
    """Normalisation, numbers and activations behind vectors, which oneDNN 3.2 got wrong."""
    reseed(20)
    n = Net(13)
    flat, _ = n.head(n.op("Relu", n.conv("x", 3, 24)), 24)
    y = n.bn(flat, 24)
    y = n.op("Tanh", n.gemm(y, 24, 37))
    one = n.op("Add", n.const(np.float32(1)), n.op("Erf", n.op("Mul", n.const(np.float32(0.5**0.5)), y)))
    y = n.op("Mul", n.const(np.float32(0.5)), n.op("Mul", one, y))  # GELU with its numbers first
    y = n.op("Sub", n.op("Mul", y, y), n.const(rng.uniform(-1, 1, (1, 37)).astype(np.float32)))
    y = n.bn(n.op("Sigmoid", n.gemm(y, 37, 20)), 20)
    emit("vector_arithmetic", n.model(n.gemm(y, 20, 4)), y)


def mixed_orders():
    """Maps N,H,W,C that lie as pixels do, with what has their sizes and lies otherwise, or the same numbers."""
    reseed(51)
    n = Net(13, size=6)  # every side is 6: nothing but the order tells them apart
    x = n.op("Relu", n.conv("x", 3, 6, pads=[1] * 4))
    t = n.op("Transpose", x, perm=[0, 2, 3, 1])
    y = n.op("Mul", x, n.op("Sigmoid", t))  # no SiLU
    y = n.op("Add", y, n.op("Add", t, n.conv(x, 6, 6, pads=[1] * 4)))  # no residual
    y = n.op("Transpose", n.op("Mul", n.op("Sigmoid", n.op("Transpose", y, perm=[0, 3, 1, 2])), y), perm=[0, 3, 1, 2])
    y = n.conv(y, 6, 4)
    emit("mixed_orders_alike", n.model(y), y)
    n = Net(13, size=4, width=6)
    x = n.op("Relu", n.conv("x", 3, 5, pads=[1] * 4))
    t = n.op("Transpose", n.op("Add", x, n.vector(6)), perm=[0, 2, 3, 1])  # N,4,6,5
    flat = n.op("Reshape", t, ints(n, 0, 24, 5))
    p = n.op("Reshape", n.op("MatMul", flat, n.weights(5, 5)), ints(n, 0, 4, 6, 5))
    gate = n.op("Reshape", n.op("Sigmoid", n.op("ReduceMean", flat, axes=[1])), ints(n, 0, 1, 1, 5))
    row = n.op("Reshape", n.op("ReduceMax", flat, axes=[2]), ints(n, 0, 4, 6, 1))
    y = n.op("Sub", n.op("Mul", gate, t), n.op("Div", p, n.op("Add", n.op("Sigmoid", t), n.op("Sigmoid", row))))
    y = n.op("Max", n.op("Add", row, y), p, n.op("Expand", gate, n.op("Shape", t)))
    y = n.conv(n.op("Transpose", n.op("Sum", p, y, t), perm=[0, 3, 1, 2]), 5, 4)
    emit("mixed_orders", n.model(y), y)


def concat_layouts():
    """Parts that lie differently, and an activation behind them that does not keep zeros."""
    reseed(21)
    n = Net(13, size=7)
    pads = n.const(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    x = n.op("Pad", n.conv("x", 3, 40, r=1), pads)
    y = n.op("Concat", x, x, x, n.conv(x, 40, 4, pads=[1] * 4), axis=1)
    y = n.op("Add", n.op("Sigmoid", y), y)
    emit("concat_layouts", n.model(y), y)


def computed_constants():
    """What PyTorch leaves to be computed though it depends on no pixel: F.pad's list, and weights
    that are standardised."""
    reseed(23)
    n = Net(13)
    ints = lambda *v: n.const(np.array(v, np.int64))  # noqa: E731
    given = ints(1, 2, 0, 1)  # left, right, top, bottom
    zero = numpy_helper.from_array(np.zeros(1, np.int64))
    zeros = n.op("ConstantOfShape", n.op("Sub", ints(8), n.op("Shape", given)), value=zero)
    pairs = n.op("Reshape", n.op("Concat", given, zeros, axis=0), ints(-1, 2))
    turned = n.op("Slice", pairs, ints(-1), ints(-(2**63) + 1), ints(0), ints(-1))
    pads = n.op("Cast", n.op("Reshape", n.op("Transpose", turned, perm=[1, 0]), ints(-1)), to=T.INT64)
    x = n.op("Pad", "x", pads)
    w = n.weights(12, 3, 3, 3)
    mean = n.op("ReduceMean", w, axes=[1, 2, 3], keepdims=1)
    away = n.op("Sub", w, mean)
    spread = n.op("ReduceMean", n.op("Mul", away, away), axes=[1, 2, 3], keepdims=1)
    scale = n.op("Sqrt", n.op("Add", spread, n.const(np.float32(1e-4))))
    y = n.op("Conv", x, n.op("Div", away, scale), n.vector(12), kernel_shape=[3, 3])
    emit("computed_constants", n.model(y), y)


def shuffles():
    """ShuffleNet's: two halves, of which one passes by, and what was joined shuffled."""
    reseed(24)
    n = Net(13)
    ints = lambda *v: n.const(np.array(v, np.int64))  # noqa: E731

    def shuffle(x, groups, each, size):
        y = n.op("Reshape", x, ints(-1, groups, each, size, size))
        return n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1, 3, 4]), ints(-1, groups * each, size, size))

    x = shuffle(n.op("Relu", n.conv("x", 3, 24, pads=[1] * 4)), 2, 12, 12)
    a = n.op("Split", x, ints(12, 12), n_out=2, axis=1)
    y = n.op("Relu", n.conv(f"{a}_1", 12, 12, r=1))
    y = shuffle(n.op("Concat", a, n.conv(y, 12, 6, group=3, pads=[1] * 4), axis=1), 3, 6, 12)
    y = n.op("Add", y, n.op("Sigmoid", y))
    emit("shuffles", n.model(y), y)


def parts():
    """Channels taken apart, in blocks and across them, as every opset writes it down."""
    reseed(22)
    n = Net(13)
    ints = lambda *v: n.const(np.array(v, np.int64))  # noqa: E731

    def split(x, *more, n_out, **attrs):
        first = n.op("Split", x, *more, n_out=n_out, **attrs)
        return [first] + [f"{first}_{i}" for i in range(1, n_out)]

    x = n.op("Relu", n.conv("x", 3, 48, pads=[1] * 4))
    a, b = split(x, ints(16, 32), n_out=2, axis=1)  # whole blocks
    c, _, d = split(b, ints(5, 16, 11), n_out=3, axis=-3)  # and not; one that nobody reads
    e = n.op("Slice", x, ints(-7), ints(2**62), ints(1))
    f = n.op("Slice", x, ints(0, 8, 0), ints(2**31, 25, 12), ints(0, 1, 2), ints(1, 1, 1))
    y = n.op("Concat", n.op("Mul", a, n.op("Sigmoid", a)), c, d, e, n.op("Add", f, f), axis=1)
    u, v = split(n.conv(y, 56, 14, r=1), n_out=2, axis=1)  # equal parts
    flat, _ = n.head(n.op("Add", u, v), 7)
    g = n.op("Slice", flat, ints(2), ints(-1), ints(1))  # of a vector
    emit("parts", n.model(n.gemm(g, 4, 5)), g)
    n = Net(13, size=9)  # torchvision's transform_input, and a last channel
    planes = []
    for channel in (0, 1, -1):
        plane = n.op("Unsqueeze", n.op("Gather", "x", n.const(np.int64(channel)), axis=1), ints(1))
        plane = n.op("Mul", plane, n.const(np.float32(0.4 + channel / 9)))
        planes.append(n.op("Add", plane, n.const(np.float32(channel / 7))))
    y = n.op("Relu", n.conv(n.op("Concat", *planes, axis=1), 3, 6))
    emit("transform_input", n.model(y), y)
    n = Net(9)  # with attributes
    x = n.conv("x", 3, 10, r=1)
    a, b = split(x, n_out=2, axis=1, split=[3, 7])
    y = n.op("Concat", n.op("Slice", b, starts=[2], ends=[100], axes=[1]), a, axis=1)
    emit("parts_9", n.model(y), y)
    n = Net(18)  # the last part is smaller
    x = n.conv("x", 3, 11, r=1)
    a, b, c = split(x, n_out=3, axis=1, num_outputs=3)
    y = n.op("Add", a, b)
    y = n.op("Concat", y, c, axis=1)
    emit("parts_18", n.model(y), y)


def retyped(model, kind):
    """The model with all its floats of another type."""
    m = onnx.ModelProto()
    m.CopyFrom(model)
    for t in m.graph.initializer:
        if t.data_type == T.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(helper.tensor_dtype_to_np_dtype(kind)),
                                               t.name))
    for end in [*m.graph.input, *m.graph.output]:
        end.type.tensor_type.elem_type = kind
    return m


def rounded(model, kind):
    """The model in float, with weights that the other type holds."""
    m = retyped(model, kind)
    for t in m.graph.initializer:
        if t.data_type == kind:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for end in [*m.graph.input, *m.graph.output]:
        end.type.tensor_type.elem_type = T.FLOAT
    return m


def types_throughout():
    """Files that compute in something else than float; expected is what float computes."""
    reseed(22)
    n = Net(13)
    y = n.op("Clip", n.bn(n.conv("x", 3, 6), 6), n.const(np.float32(0)), n.const(np.float32(6)))
    flat, s = n.head(y, 6)
    model = n.model(s)
    for name, kind in (("half", T.FLOAT16), ("double", T.DOUBLE)):
        emit(name, retyped(model, kind), flat, twin=rounded(model, kind))
    nets = []
    for op, kind, w_type in (("Cast", dict(to=T.FLOAT16), np.float16), ("Identity", {}, np.float32)):
        reseed(23)
        n = Net(13)
        w, b = (rng.normal(0, 0.3, shape).astype(np.float16).astype(w_type) for shape in ((6, 3, 3, 3), (6,)))
        y = n.op("Conv", n.op(op, "x", **kind), n.const(w), n.const(b))
        y = n.op(op, n.op("Relu", y), **dict(kind, **({"to": T.FLOAT} if kind else {})))
        flat, s = n.head(y, 6)
        nets.append(n.model(s))
    emit("half_between_casts", nets[0], flat, twin=nets[1])
    n = Net(15, nhwc=True, size=9)  # TensorFlow's pictures as they come
    y = n.op("Cast", "x", to=T.FLOAT)
    y = n.op("Transpose", n.op("Mul", y, n.const(np.float32(0.5))), perm=[0, 3, 1, 2])
    flat, s = n.head(n.op("Relu", n.conv(y, 3, 6)), 6)
    twin, model = n.model(s), n.model(s)
    model.graph.input[0].type.tensor_type.elem_type = T.UINT8
    emit("uint8_nhwc", model, flat, twin=twin, nhwc=True)
    n = Net(17)  # weights as Constant nodes whose tensors lie in a file
    w, b = (numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32)) for shape in ((8, 3, 3, 3), (8,)))
    y = n.op("Conv", "x", n.op("Constant", value=w), n.op("Constant", value=b))
    flat, s = n.head(n.op("Relu", y), 8)
    model = n.model(s)
    tensors = [a.t for node in model.graph.node for a in node.attribute if a.name == "value"]
    emit("external_constant", model, flat, save=lambda path: save_outside(model, tensors, path))
    n = Net(13, size="H", width="W")
    y = n.op("Relu", n.conv("x", 3, 6, r=5, strides=[5, 5]))
    flat, s = n.head(y, 6)
    emit("open_size", n.model(s), flat, open_size=(224, 224), images=1)


def heads():
    """What is a head, what is none, and which of two outputs has it."""
    reseed(24)

    def trunk(n):
        return n.op("Relu", n.conv(n.op("Relu", n.conv("x", 3, 10, strides=[2, 2])), 10, 14))

    n = Net(13)
    f = trunk(n)
    emit("head_conv", n.model(n.op("GlobalAveragePool", n.conv(f, 14, 5, r=1))), f)
    n = Net(13)  # SqueezeNet's, for few classes, with the tail of a Keras model
    f = trunk(n)
    y = n.op("ReduceMean", n.op("Relu", n.conv(f, 14, 5, r=1)), axes=[2, 3], keepdims=0)
    emit("head_conv_relu", n.model(n.op("Softmax", y)), f)
    n = Net(13)
    f = trunk(n)
    y = n.op("Sigmoid", n.op("Squeeze", n.conv(f, 14, 4, r=3), n.const(np.array([2, 3], np.int64))))
    emit("head_conv_3x3", n.model(y), f)  # 3x3 that is left of the picture
    n = Net(13)  # features: MobileNetV2's last layer widens, and is no head
    f = n.op("Flatten", n.op("GlobalAveragePool", n.op("Clip", n.conv(trunk(n), 14, 40, r=1), n.const(
        np.float32(0)), n.const(np.float32(6)))))
    emit("headless", n.model(f), f)
    n = Net(17)  # features: a residual block's dense layers over pixels are no head
    x = trunk(n)
    y = n.op("LayerNormalization", n.op("Transpose", x, perm=[0, 2, 3, 1]), n.vector(14, 0.5, 1.5), n.vector(14))
    y = n.op("Add", n.op("MatMul", y, n.weights(14, 14)), n.vector(14))
    f = n.op("Flatten", n.op("GlobalAveragePool", n.op("Add", n.op("Transpose", y, perm=[0, 3, 1, 2]), x)))
    emit("headless_matmul", n.model(f), f)
    n = Net(17, width=16)  # features: the last map is N,H,W,C
    y = n.op("Transpose", n.conv("x", 3, 10, r=4, strides=[4, 4]), perm=[0, 2, 3, 1])
    y = n.op("LayerNormalization", y, n.vector(10, 0.5, 1.5), n.vector(10))
    emit("headless_nhwc", n.model(y), y, nhwc_tap=True)
    n = Net(13)  # the auxiliary classifier comes first
    mid = n.op("Relu", n.conv("x", 3, 8, strides=[2, 2]))
    aux = n.head(mid, 8, 3)[1]
    flat, s = n.head(n.op("Relu", n.conv(mid, 8, 9)), 9, 5)
    model = n.model(s)
    model.graph.output.insert(0, helper.make_tensor_value_info(aux, T.FLOAT, ["N", 3]))
    emit("two_outputs", model, flat)


def ints(n, *v):
    return n.const(np.array(v, np.int64))


def number(n, value):
    return n.const(np.float32(value))


def rare_activations():
    """Those that are steps of a chain, behind a layer and behind something else."""
    reseed(31)
    n = Net(18)
    y = n.conv("x", 3, 8, pads=[1] * 4)
    for type_, attrs in (("Elu", dict(alpha=0.7)), ("Selu", {}), ("Softplus", {}), ("Softsign", {}), ("Mish", {}),
                         ("Abs", {}), ("Elu", {}), ("Neg", {})):
        y = n.op(type_, n.conv(y, 8, 8, r=1), **attrs)
    y = n.op("Elu", n.op("MaxPool", y, kernel_shape=[1, 2]))
    y = n.op("PRelu", n.conv(y, 8, 8, r=1), n.const(rng.uniform(-0.5, 0.5, (8, 1, 1)).astype(np.float32)))
    y = n.op("PRelu", n.conv(y, 8, 8, r=1), n.const(np.array([0.3], np.float32)))
    s = n.op("Add", n.op("Abs", n.conv(y, 8, 8, r=1)), number(n, 0.5))
    y = n.op("Sqrt", n.op("Reciprocal", n.op("Add", n.op("Pow", s, number(n, -0.3)), number(n, 1))))
    emit("rare_activations", n.model(y), y)
    n = Net(20)  # GELU by tanh, the operator and spelled out
    y = n.op("Gelu", n.conv("x", 3, 8, r=1), approximate="tanh")
    x = n.conv(y, 8, 8, r=1)
    cube = n.op("Mul", number(n, 0.044715), n.op("Pow", x, number(n, 3)))
    t = n.op("Tanh", n.op("Mul", n.op("Add", x, cube), number(n, (2 / np.pi) ** 0.5)))
    y = n.op("Mul", n.op("Mul", number(n, 0.5), x), n.op("Add", number(n, 1), t))
    emit("gelu_tanh", n.model(y), y)


def two_maps():
    """Arithmetic of maps with each other, with less than a map, and with a constant for each place."""
    reseed(32)
    n = Net(13, size=6, width=5)
    a, b = n.conv("x", 3, 10, r=1), n.conv("x", 3, 10, r=1)
    above = n.op("Add", n.op("Abs", b), number(n, 0.5))
    y = n.op("Sub", n.op("Div", a, above), n.op("Mul", a, b))
    y = n.op("Max", y, b, number(n, -2))
    y = n.op("Min", y, above)
    y = n.op("Sum", y, a, b)
    y = n.op("Mean", y, a)
    y = n.op("Max", number(n, -0.25), y)
    y = n.op("Max", y, n.const(rng.uniform(-0.5, 0.5, (10, 1, 1)).astype(np.float32)))  # a threshold for each channel
    mean = n.op("ReduceMean", y, axes=[2, 3])
    y = n.op("Sub", y, mean)
    y = n.op("Div", mean, n.op("Add", n.op("Mul", y, y), number(n, 1)))
    rows, columns = n.op("ReduceMean", y, axes=[3]), n.op("ReduceMax", y, axes=[2])
    y = n.op("Mul", n.op("Sigmoid", n.op("Add", rows, columns)), y)  # coordinate attention
    y = n.op("Add", n.op("Mul", y, rows), columns)
    groups = n.op("Reshape", y, ints(n, 0, 2, 5, 6, 5))  # a spread of each group: EvoNorm's
    mean = n.op("ReduceMean", groups, axes=[2, 3, 4])
    y = n.op("Div", n.op("Sub", groups, mean), n.op("Add", n.op("Abs", mean), number(n, 0.5)))
    y = n.op("Relu", n.op("Reshape", y, ints(n, 0, 10, 6, 5)))
    emit("two_maps", n.model(y), y)
    n = Net(13, size=6, width=5)  # constants
    place = lambda *s: n.const(rng.uniform(0.5, 1.5, s).astype(np.float32))  # noqa: E731
    y = n.op("Add", n.conv("x", 3, 10, r=1), place(1, 10, 6, 5))
    y = n.op("Mul", place(1, 1, 6, 5), y)
    y = n.op("Sub", place(6, 1), y)
    y = n.op("Sub", y, place(10, 1, 5))
    y = n.op("Div", n.op("Div", y, place(10, 6, 5)), place(10, 1, 1))
    z = n.op("Add", n.op("Abs", y), number(n, 1))
    y = n.op("Add", n.op("Add", n.op("Div", place(10, 6, 1), z), n.op("Div", place(1, 10, 1, 1), z)),
             n.op("Div", number(n, 2), z))
    y = n.op("Transpose", n.op("Mul", n.op("Transpose", y, perm=[0, 2, 3, 1]), place(6, 1, 10)), perm=[0, 3, 1, 2])
    emit("place_constants", n.model(y), y)


def reductions():
    reseed(33)
    n = Net(13, size=6, width=5)
    x = n.conv("x", 3, 9, r=1)
    y = x
    for type_ in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceMean"):
        def reduce(*axes, keepdims=1, x=y):
            if type_ == "ReduceSum":
                return n.op(type_, x, ints(n, *axes), keepdims=keepdims)
            return n.op(type_, x, axes=list(axes), keepdims=keepdims)
        y = n.op("Add", n.op("Mul", n.op("Sigmoid", reduce(2, 3)), y), n.op("Tanh", reduce(1)))
        y = n.op("Sub", y, n.op("Sigmoid", n.op("Add", reduce(-1), reduce(2))))
        y = n.op("Mul", y, n.op("Sigmoid", reduce(1, 2, 3)))
        y = n.op("Add", y, n.op("Sigmoid", n.op("Unsqueeze", reduce(1, keepdims=0), ints(n, 1))))
    y = n.op("Mul", y, n.op("Sigmoid", n.op("GlobalMaxPool", y)))
    emit("reductions", n.model(y), y)
    n = Net(18, size=6, width=5)  # channels last
    x = n.op("Transpose", n.conv("x", 3, 9, r=1), perm=[0, 2, 3, 1])
    for axes in ((3,), (1, 2), (1,), (2,)):
        x = n.op("Sub", x, n.op("ReduceMean", n.op("Mul", x, x), ints(n, *axes)))
    rows = n.op("ReduceMean", x, ints(n, 2), keepdims=0)  # N,H,C
    flat = n.op("Add", n.op("Flatten", rows), n.op("Flatten", n.op("Transpose", rows, perm=[0, 2, 1])))
    emit("reductions_nhwc", n.model(n.gemm(flat, 54, 4)), flat)


def other_norms():
    reseed(34)
    n = Net(14, size=8)  # LayerNorm before its operator: ConvNeXt's

    def layer_norm(x, c):
        d = n.op("Sub", x, n.op("ReduceMean", x, axes=[-1]))
        v = n.op("Sqrt", n.op("Add", n.op("ReduceMean", n.op("Pow", d, number(n, 2)), axes=[-1]), number(n, 1e-6)))
        return n.op("Add", n.op("Mul", n.op("Div", d, v), n.vector(c, 0.5, 1.5)), n.vector(c))

    def grn(x, c):  # ConvNeXt V2's, channels last
        g = n.op("ReduceL2", x, axes=[1, 2])
        g = n.op("Div", g, n.op("Add", n.op("ReduceMean", g, axes=[-1]), number(n, 1e-6)))
        return n.op("Add", x, n.op("Add", n.op("Mul", n.op("Mul", x, g), n.vector(c, 0.5, 1.5)), n.vector(c)))

    x = n.conv("x", 3, 12, r=2, strides=[2, 2])
    y = layer_norm(n.op("Transpose", x, perm=[0, 2, 3, 1]), 12)
    y = grn(n.op("Relu", n.op("MatMul", y, n.weights(12, 20))), 20)
    y = n.op("Add", x, n.op("Transpose", n.op("MatMul", y, n.weights(20, 12)), perm=[0, 3, 1, 2]))
    # GroupNorm as PyTorch writes it, and one whose groups are read otherwise
    for again in (False, True):
        g = n.op("Reshape", y, ints(n, 0, 4, -1))
        g = n.op("InstanceNormalization", g, n.const(np.ones(4, np.float32)), n.const(np.zeros(4, np.float32)))
        z = n.op("Reshape", n.op("Sigmoid", g) if again else g, ints(n, 0, 12, 4, 4))
        y = n.op("Add", n.op("Mul", z, n.const(rng.uniform(0.5, 1.5, (12, 1, 1)).astype(np.float32))),
                 n.const(rng.uniform(-1, 1, (12, 1, 1)).astype(np.float32)))
        y = n.op("Relu", n.conv(y, 12, 12, pads=[1] * 4))
    y = n.op("InstanceNormalization", y, n.vector(12, 0.5, 1.5), n.vector(12), epsilon=1e-3)
    y = n.op("LRN", y, size=5, alpha=0.3, beta=0.6, bias=2.0)
    y = n.op("LRN", y, size=3)
    emit("other_norms", n.model(y), y)
    for opset, scales in ((18, 3), (21, 12)):
        n = Net(opset, size=6)
        y = n.op("GroupNormalization", n.conv("x", 3, 12), n.vector(scales, 0.5, 1.5), n.vector(scales),
                 num_groups=3, epsilon=1e-3)
        y = n.op("Relu", y)
        emit(f"group_norm_{opset}", n.model(y), y)


def resamplings():
    reseed(35)
    n = Net(13, size=7, width=6)
    pads = lambda t, l, b, r: ints(n, 0, 0, t, l, 0, 0, b, r)  # noqa: E731
    y = n.op("Pad", n.conv("x", 3, 5, r=1), pads(2, 1, 3, 0), mode="reflect")
    y = n.op("Pad", y, pads(0, 4, 1, 2), mode="edge")
    y = n.op("Pad", n.conv(y, 5, 5, r=1), pads(1, 0, 0, 2), number(n, -1.5))
    y = n.op("Pad", y, pads(-1, 1, -1, -3))
    y = n.op("Slice", y, ints(n, 0, 1, -1), ints(n, 2**62, 4, -2**62), ints(n, 0, 1, 3), ints(n, 1, 1, -2))
    y = n.op("Concat", n.op("Slice", y, ints(n, 0), ints(n, 2**62), ints(n, 2), ints(n, 2)),
             n.op("Slice", y, ints(n, 1), ints(n, 2**62), ints(n, 2), ints(n, 2)), axis=1)
    emit("borders", n.model(y), y)
    n = Net(13, size=7, width=6)
    scales = lambda h, w: n.const(np.array([1, 1, h, w], np.float32))  # noqa: E731
    y = n.conv("x", 3, 4, r=1)
    for h, w, attrs in ((2, 2, dict(mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")),
                        (0.5, 0.6, dict(mode="linear")),
                        (2, 1.5, dict(mode="linear", coordinate_transformation_mode="align_corners")),
                        (1.3, 2, dict(mode="linear", coordinate_transformation_mode="pytorch_half_pixel")),
                        (0.7, 0.5, dict(mode="nearest")),
                        (1.5, 1, dict(mode="cubic", cubic_coeff_a=-0.5)),
                        (1, 0.8, dict(mode="nearest", nearest_mode="ceil")),
                        (1.2, 1.4, dict(mode="nearest", nearest_mode="round_prefer_ceil",
                                        coordinate_transformation_mode="align_corners"))):
        y = n.op("Resize", y, "", scales(h, w), **attrs)
    size = n.op("Concat", n.op("Slice", n.op("Shape", y), ints(n, 0), ints(n, 2)), ints(n, 5, 9), axis=0)
    y = n.op("Resize", y, "", "", size, mode="linear", coordinate_transformation_mode="asymmetric")
    emit("resize", n.model(y), y)
    n = Net(19, size=7, width=6)
    y = n.op("Resize", n.conv("x", 3, 4, r=1), "", n.const(np.array([1.5, 2], np.float32)), axes=[2, 3],
             mode="cubic", exclude_outside=1)
    y = n.op("Resize", y, "", "", ints(n, 6, 4), axes=[3, 2], mode="linear",
             coordinate_transformation_mode="half_pixel_symmetric")
    emit("resize_19", n.model(y), y)
    for opset, type_ in ((9, "Upsample"), (10, "Resize")):
        n = Net(opset, size=7, width=6)
        y = n.op(type_, n.conv("x", 3, 4, r=1), n.const(np.array([1, 1, 2, 3], np.float32)), mode="nearest")
        y = n.op(type_, y, n.const(np.array([1, 1, 1.5, 1], np.float32)), mode="linear")
        emit(f"resize_{opset}", n.model(y), y)
    n = Net(13, size=7, width=6)
    x = n.conv("x", 3, 5, r=1)
    gate = n.op("Sigmoid", n.op("GlobalAveragePool", x))
    y = n.op("Mul", x, n.op("Expand", gate, n.op("Shape", x)))
    wide = n.op("Expand", n.op("ReduceMean", y, axes=[1, 2]), n.op("Shape", y))  # read by no sum
    y = n.op("Concat", y, wide, axis=1)
    g = n.op("Expand", n.op("Reshape", n.op("GlobalAveragePool", y), ints(n, 0, 2, 5, 1, 1)), ints(n, 1, 2, 5, 1, 1))
    g = n.op("Expand", n.op("ReduceMean", g, axes=[2]), ints(n, 1, 1, 5, 7, 6))  # a part of the channels
    y = n.op("Concat", y, n.op("Reshape", g, ints(n, 0, 10, 7, 6)), axis=1)
    emit("expand", n.model(y), y)


def attention():
    """A map's mean by learnt weights (GCNet), and what looks at all places."""
    reseed(38)
    n = Net(13, size=6, width=5)
    x = n.op("Relu", n.conv("x", 3, 12, r=1))
    rows = n.op("Reshape", x, ints(n, 0, 1, 12, 30))
    w = n.op("Softmax", n.op("Reshape", n.conv(x, 12, 1, r=1), ints(n, 0, 1, -1)), axis=-1)
    c = n.op("MatMul", rows, n.op("Unsqueeze", w, ints(n, 3)))
    c = n.op("Sigmoid", n.conv(n.op("Reshape", c, ints(n, 0, 12, 1, 1)), 12, 12, r=1))
    y = n.op("Mul", x, c)
    t = n.op("Transpose", n.op("Reshape", y, ints(n, 0, 12, 30)), perm=[0, 2, 1])  # N, 30 tokens, 12
    qkv = [n.op("Add", n.op("MatMul", t, n.weights(12, 8)), n.vector(8)) for _ in range(3)]
    q, k, v = (n.op("Reshape", z, ints(n, 0, 30, 2, 4)) for z in qkv)
    q, v = (n.op("Transpose", z, perm=[0, 2, 1, 3]) for z in (q, v))
    k = n.op("Transpose", k, perm=[0, 2, 3, 1])  # the order that N,H,W,C has, too
    a = n.op("Softmax", n.op("Mul", n.op("MatMul", q, k), number(n, 0.5)), axis=-1)
    z = n.op("Transpose", n.op("MatMul", a, v), perm=[0, 2, 1, 3])
    z = n.op("MatMul", n.op("Reshape", z, ints(n, 0, 30, 8)), n.weights(8, 12))
    y = n.op("Add", y, n.op("Reshape", n.op("Transpose", z, perm=[0, 2, 1]), ints(n, 0, 12, 6, 5)))
    q = n.op("Split", n.op("Reshape", n.conv(y, 12, 12, r=1), ints(n, 0, 3, 4, 30)), ints(n, 1, 3), axis=2, n_out=2)
    kv = n.op("Split", n.conv(y, 12, 1, r=1), ints(n, 2, 3), axis=-1, n_out=2)  # one for all heads
    k = n.op("Concat", n.op("Reshape", kv, ints(n, 0, 12, 1, 1)), n.op("Reshape", f"{kv}_1", ints(n, 0, 18, 1, 1)), axis=1)
    z = n.op("MatMul", n.op("Transpose", f"{q}_1", perm=[0, 1, 3, 2]), n.op("Reshape", f"{q}_1", ints(n, 0, 3, 3, 30)))
    z = n.op("MatMul", z, n.op("Reshape", k, ints(n, 0, 1, 30, 1)))
    y = n.op("Mul", y, n.op("Sigmoid", n.op("Reshape", n.op("ReduceMean", n.op("Mul", z, z), axes=[1]),
                                           ints(n, 0, 1, 6, 5))))
    emit("attention", n.model(y), y)


def tails():
    """What follows the scores, and what leads nowhere, need not be known."""
    reseed(37)
    n = Net(13)
    x = n.op("Relu", n.conv("x", 3, 6))
    n.op("NonZero", x)  # nobody reads it
    flat, scores = n.head(x, 6)
    k = n.op("Constant", value=numpy_helper.from_array(np.array([2], np.int64)))
    n.op("TopK", n.op("LogSoftmax", scores), k, n_out=2)
    best = n.op("ArgMax", n.nodes[-1].output[0], axis=1)
    model = n.model(best)
    model.graph.output[0].type.tensor_type.elem_type = T.INT64
    emit("tail", model, flat)


def orders():
    """Dimensions in other numbers and orders than a picture's."""
    reseed(36)
    n = Net(13, size=8, width=12)
    x = n.op("Relu", n.conv("x", 3, 8, r=1))
    y = n.op("SpaceToDepth", x, blocksize=2)
    y = n.op("DepthToSpace", n.conv(y, 32, 36, r=1), blocksize=3)
    y = n.op("DepthToSpace", n.conv(y, 4, 8, r=1), blocksize=2, mode="CRD")
    y = n.op("Reshape", y, ints(n, 0, 2, 6, 4, 9, 4))  # TResNet's blocks, 4 x 4
    y = n.op("Transpose", y, perm=[0, 3, 5, 1, 2, 4])
    y = n.op("Reshape", y, ints(n, 0, 32, 6, 9))
    side = n.op("Transpose", n.conv(y, 32, 8, r=1), perm=[0, 1, 3, 2])
    y = n.op("Transpose", n.op("Transpose", side, perm=[0, 3, 2, 1]), perm=[0, 2, 1, 3])  # N,H,W,C in two steps
    y = n.conv(n.op("Reshape", y, ints(n, -1, 9, 8, 6)), 9, 6, r=1)
    emit("orders", n.model(y), y)
    n = Net(13, size=8, width=12)  # efficient channel attention: a convolution along the channels
    x = n.op("Relu", n.conv("x", 3, 10, r=1))
    g = n.op("Reshape", n.op("ReduceMean", x, axes=[2, 3], keepdims=0), ints(n, -1, 1, 10))
    w = n.const(rng.normal(0, 0.5, (3, 1, 5)).astype(np.float32))
    g = n.op("Conv", g, w, n.vector(3), kernel_shape=[5], pads=[2, 2])
    g = n.op("Conv", g, n.const(rng.normal(0, 0.5, (1, 3, 3)).astype(np.float32)), auto_pad="SAME_UPPER")
    g = n.op("Reshape", n.op("Sigmoid", g), ints(n, -1, 10, 1, 1))
    y = n.op("Mul", x, n.op("Expand", g, n.op("Shape", x)))
    emit("channel_attention", n.model(y), y)
    n = Net(13, size=8, width=6)  # selective kernels: two branches weighed by a softmax
    a, b = n.op("Relu", n.conv("x", 3, 10, r=1)), n.op("Relu", n.conv("x", 3, 10, pads=[1] * 4))
    s = n.op("Concat", n.op("Unsqueeze", a, ints(n, 1)), n.op("Unsqueeze", b, ints(n, 1)), axis=1)
    g = n.conv(n.op("ReduceMean", n.op("ReduceSum", s, ints(n, 1), keepdims=0), axes=[2, 3]), 10, 20, r=1)
    g = n.op("Softmax", n.op("Reshape", g, ints(n, 0, 2, 10, 1, 1)), axis=1)
    y = n.op("ReduceSum", n.op("Mul", s, g), ints(n, 1), keepdims=0)
    # split attention: the softmax stands behind a transpose
    g = n.conv(n.op("GlobalAveragePool", y), 10, 20, r=1)
    g = n.op("Softmax", n.op("Transpose", n.op("Reshape", g, ints(n, 0, 1, 2, 10)), perm=[0, 2, 1, 3]), axis=1)
    g = n.op("Reshape", n.op("Reshape", g, ints(n, 0, -1)), ints(n, 0, 2, 10, 1, 1))
    p = n.op("Slice", n.op("Mul", s, g), ints(n, 1), ints(n, 2), ints(n, 1))
    y = n.op("Add", y, n.op("Squeeze", p, ints(n, 1)))
    y = n.op("Mul", y, n.op("Softmax", y, axis=1))  # each pixel's channels, then rows
    y = n.op("Mul", y, n.op("Softmax", y, axis=2))
    emit("selective", n.model(y), y)
    n = Net(11, size=4)  # tokens; all from an axis on
    x = n.conv("x", 3, 8, r=1)
    t = n.op("Transpose", n.op("Reshape", x, ints(n, 0, 8, 16)), perm=[0, 2, 1])
    y = n.op("Reshape", n.op("Transpose", n.op("Mul", t, t), perm=[0, 2, 1]), ints(n, 0, 8, 4, 4))
    y = n.op("Add", y, n.op("Softmax", y, axis=2))
    y = n.op("Add", y, n.op("Softmax", y))
    emit("tokens_11", n.model(y), y)
    n = Net(17, size=4)
    x = n.conv("x", 3, 8, r=1)
    t = n.op("Transpose", n.op("Reshape", x, ints(n, 0, 8, 16)), perm=[0, 2, 1])
    t = n.op("LayerNormalization", t, n.vector(8, 0.5, 1.5), n.vector(8), axis=-1)
    y = n.op("Reshape", n.op("Transpose", t, perm=[0, 2, 1]), ints(n, 0, 8, 4, 4))
    emit("tokens_17", n.model(y), y)


def spelled_norms():
    """Layer normalisation before its operator: over channels first, last, and of tokens; and what is none."""
    reseed(40)
    n = Net(13, size=6, width=4)

    def norm(x, axis, scale=None, shift=None, square="Pow", part_of=None):
        d = n.op("Sub", x, n.op("ReduceMean", x, axes=[axis]))
        p = n.op("Pow", d, number(n, 2)) if square == "Pow" else n.op("Mul", d, d)
        v = n.op("Add", n.op("ReduceMean", p, axes=[axis]), number(n, 1e-3))
        y = n.op("Div", part_of or d, n.op("Sqrt", v))
        y = n.op("Mul", scale, y) if scale else y
        return n.op("Add", y, shift) if shift else y

    def numbers(*shape):
        return n.const(rng.uniform(0.5, 1.5, shape).astype(np.float32))

    x = norm(n.conv("x", 3, 10, pads=[1] * 4), 1, numbers(10, 1, 1), numbers(1, 10, 1, 1))
    x = norm(n.conv(x, 10, 7, r=1), 1, None, numbers(7, 1, 1), "Mul")
    y = n.op("Transpose", x, perm=[0, 2, 3, 1])
    y = norm(n.op("MatMul", y, n.weights(7, 9)), -1, numbers(9))
    y = norm(y, 3, numbers(9), n.const(np.float32(0.5)))  # the shift is one for all
    x = n.op("Transpose", y, perm=[0, 3, 1, 2])
    t = n.op("Transpose", n.op("Reshape", x, ints(n, 0, 9, 24)), perm=[0, 2, 1])
    t = norm(t, 2, numbers(9), numbers(9), "Mul")
    t = norm(t, 1)  # of each channel's places
    far = n.op("Sub", t, n.op("ReduceMax", t, axes=[2]))  # a column, which alone is a vector
    t = n.op("Div", n.op("Mul", far, n.op("Sigmoid", n.op("ReduceMean", t, axes=[-1]))),
             n.op("Add", n.op("ReduceMax", n.op("Abs", t), axes=[2]), number(n, 1)))
    y = n.op("Reshape", n.op("Transpose", t, perm=[0, 2, 1]), ints(n, 0, 9, 6, 4))
    y = norm(y, 1, part_of=n.op("Relu", n.op("Neg", y)))  # divides something else
    z = n.op("Relu", n.conv(y, 9, 8))  # whose means differ
    emit("spelled_norms", n.model(z), z, y, x)


def windows():
    """What has windows, heads or rows of all pictures in one axis with the batch, or something in front of it."""
    reseed(41)
    n = Net(17, size=8)
    x = n.op("Relu", n.conv("x", 3, 8, pads=[1] * 4))
    batch = n.op("Gather", n.op("Shape", x), n.const(np.int64(0)))

    def batches(times, *more):
        many = n.op("Unsqueeze", n.op("Mul", batch, n.const(np.int64(times))), ints(n, 0))
        return n.op("Concat", many, ints(n, *more), axis=0)

    def norm(t):
        return n.op("LayerNormalization", t, n.vector(8, 0.5, 1.5), n.vector(8), axis=-1)

    def attend(q, k, v, bias):
        a = n.op("MatMul", n.op("Mul", q, number(n, 0.5)), n.op("Transpose", k, perm=[0, 1, 3, 2]))
        return n.op("MatMul", n.op("Softmax", n.op("Add", a, bias), axis=-1), v)

    bias = n.const(rng.normal(0, 0.5, (1, 2, 16, 16)).astype(np.float32))
    t = n.op("Reshape", n.op("Transpose", x, perm=[0, 2, 3, 1]), ints(n, 0, 2, 4, 2, 4, 8))
    w = n.op("Reshape", n.op("Transpose", t, perm=[0, 1, 3, 2, 4, 5]), ints(n, -1, 16, 8))  # 4 windows each
    qkv = n.op("Reshape", n.op("MatMul", norm(w), n.weights(8, 24)), batches(4, 16, 3, 2, 4))
    qkv = n.op("Transpose", qkv, perm=[2, 0, 3, 1, 4])
    q, k, v = (n.op("Gather", qkv, n.const(np.int64(i)), axis=0) for i in (0, 1, -1))
    z = n.op("Reshape", n.op("Transpose", attend(q, k, v, bias), perm=[0, 2, 1, 3]), ints(n, -1, 16, 8))
    w = n.op("Add", w, n.op("Add", n.op("MatMul", z, n.weights(8, 8)), n.vector(8)))
    rows = n.bn(n.op("Flatten", w, axis=2), 8)
    w = n.op("Mul", w, n.op("Sigmoid", n.op("Reshape", n.gemm(rows, 8, 8), n.op("Shape", w))))
    gate = n.op("Sigmoid", n.op("ReduceMean", w, axes=[1]))  # each window's
    mean = n.op("ReduceMean", n.op("ReduceMax", w, axes=[2], keepdims=0), axes=[-1], keepdims=0)
    mean = n.op("Reshape", mean, ints(n, -1, 4, 1, 1))
    w = n.op("Mul", w, gate)
    w = n.op("Reshape", w, n.op("Concat", n.op("Unsqueeze", n.op("Div", n.op("Mul", batch, n.const(np.int64(8))),
                                                                n.const(np.int64(2))), ints(n, 0)), ints(n, 16, 8), axis=0))
    w = n.op("Reshape", n.op("Mul", n.op("Reshape", w, ints(n, -1, 4, 16, 8)), mean), ints(n, -1, 16, 8))
    # the other way of q, k and v: split in front, and heads in one axis with the windows
    qkv = n.op("Transpose", n.op("Reshape", n.op("MatMul", w, n.weights(8, 24)), ints(n, -1, 16, 3, 2, 4)),
               perm=[2, 0, 3, 1, 4])
    parts = n.op("Split", qkv, ints(n, 1, 1, 1), axis=0, n_out=3)
    q, k, v = (n.op("Reshape", n.op("Squeeze", p, ints(n, 0)), ints(n, -1, 16, 4)) for p in (parts, f"{parts}_1", f"{parts}_2"))
    a = n.op("Softmax", n.op("MatMul", q, n.op("Transpose", k, perm=[0, 2, 1])), axis=2)
    z = n.op("Reshape", n.op("MatMul", a, v), batches(4, 2, 16, 4))
    w = n.op("Add", n.op("Reshape", n.op("Transpose", z, perm=[0, 2, 1, 3]), ints(n, -1, 16, 8)), w)
    y = n.op("Reshape", w, ints(n, -1, 2, 2, 4, 4, 8))
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 1, 3, 2, 4, 5]), ints(n, -1, 8, 8, 8))
    y = n.op("Add", n.op("Transpose", y, perm=[0, 3, 1, 2]), x)
    emit("windows", n.model(y), y)

    n = Net(13, size=8, width=4)  # patches, by MobileViT; the batch in other places
    x = n.conv("x", 3, 6, r=1)
    y = n.op("Transpose", n.op("Reshape", x, ints(n, -1, 2, 2, 2)), perm=[0, 2, 1, 3])  # N 6 4, 2, 2, 2
    y = n.op("Transpose", n.op("Reshape", y, ints(n, -1, 6, 8, 4)), perm=[0, 3, 2, 1])
    y = n.op("Reshape", y, ints(n, -1, 8, 6))  # 4 N, 8, 6
    y = n.op("Add", y, n.op("MatMul", n.op("Relu", n.op("MatMul", y, n.weights(6, 9))), n.weights(9, 6)))
    y = n.op("Transpose", y, perm=[1, 0, 2])
    y = n.op("Unsqueeze", n.op("Sigmoid", y), ints(n, 0))  # 1, 8, 4 N, 6
    y = n.op("Mul", y, n.const(rng.uniform(0.5, 1, (8, 1, 6)).astype(np.float32)))
    y = n.op("Softmax", n.op("Squeeze", n.op("Transpose", y, perm=[2, 1, 0, 3]), ints(n, 2)), axis=1)
    y = n.op("Expand", n.op("ReduceSum", y, ints(n, 2)), n.op("Shape", y))
    y = n.op("Reshape", n.op("Transpose", n.op("Reshape", y, ints(n, -1, 4, 8, 6)), perm=[0, 3, 2, 1]), ints(n, 0, 6, 8, 4))
    y = n.op("Add", x, y)
    emit("patches", n.model(y), y)

    n = Net(13, size=8, batch=1)  # a file for one picture, whose windows have a mask
    x = n.op("Relu", n.conv("x", 3, 6, pads=[1] * 4))
    y = n.op("Transpose", n.op("Reshape", x, ints(n, 1, 6, 2, 4, 2, 4)), perm=[0, 2, 4, 3, 5, 1])
    y = n.op("Reshape", y, ints(n, 4, 16, 6))
    a = n.op("MatMul", y, n.op("Transpose", y, perm=[0, 2, 1]))
    a = n.op("Softmax", n.op("Add", a, n.const(rng.normal(0, 1, (4, 16, 16)).astype(np.float32))), axis=-1)
    y = n.op("Reshape", n.op("MatMul", a, y), ints(n, 1, 2, 2, 4, 4, 6))
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 5, 1, 3, 2, 4]), ints(n, 1, 6, 8, 8))
    y = n.op("Add", y, n.op("Reshape", n.op("Expand", n.op("Unsqueeze", y, ints(n, 0)), ints(n, 1, 1, 6, 8, 8)), ints(n, 1, 6, 8, 8)))
    emit("windows_1", n.model(y), y, fixed=True)


def inner_axes():
    """Places along axes that are no map's, by lists of them, too; and numbers of a whole batch."""
    reseed(42)
    n = Net(18, size=6, width=5)
    x = n.op("Relu", n.conv("x", 3, 12, r=1))
    y = n.op("Reshape", x, ints(n, 0, 2, 3, 2, 6, 5))
    p = n.op("Split", y, ints(n, 1, 2), axis=2, n_out=2)
    y = n.op("Concat", f"{p}_1", p, axis=2)
    q = n.op("Slice", y, ints(n, 1, 2, 5), ints(n, 2, 0, 0), ints(n, 3, 2, 4), ints(n, 1, -1, -2))  # 2, 2, 1, 3, 5
    y = n.op("Mul", n.op("Gather", y, ints(n, 2, 0), axis=-4), n.op("Pad", q, ints(n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0)))
    y = n.op("Pad", y, ints(n, 1, 1), "", ints(n, 1), mode="edge")
    y = n.op("Gather", n.op("Slice", y, ints(n, 0), ints(n, 9), ints(n, 2), ints(n, 2)), n.const(np.int64(-2)), axis=1)
    y = n.op("Reshape", y, ints(n, 0, 2, 6, 5))
    at = (np.arange(3)[:, None] + np.arange(4)[None, :]).astype(np.int64)  # windows of 3 rows that overlap
    u = n.op("Gather", y, n.const(at), axis=2)  # N, 2, 3, 4, 5
    u = n.op("Transpose", n.op("Concat", u, n.op("Sigmoid", u), u, axis=3), perm=[0, 1, 3, 2, 4])
    u = n.op("Reshape", u, ints(n, 0, 2, 18, 10))
    t = n.op("Reshape", x, ints(n, 0, 12, 30))  # tokens
    t = n.op("Concat", n.op("Slice", t, ints(n, 3), ints(n, 5), ints(n, 1)), t, axis=1)
    u = n.op("Mul", u, n.op("Sigmoid", n.op("ReduceMean", n.op("Unsqueeze", t, ints(n, 1)), ints(n, 2, 3))))
    m = n.op("ReduceMean", u, ints(n, 2, 3))  # as_strided, by PyTorch
    flat = n.op("Reshape", m, ints(n, -1))
    own = n.op("Range", n.const(np.int64(0)), n.op("Squeeze", n.op("Shape", u, start=0, end=1)), n.const(np.int64(1)))
    own = n.op("Unsqueeze", n.op("Mul", own, n.const(np.int64(2))), ints(n, 1, 2, 3))
    own = n.op("Add", own, n.const(np.array([0, 1], np.int64).reshape(1, 2, 1, 1)))
    y = n.op("Mul", u, n.op("Sigmoid", n.op("Gather", flat, own)))
    at = np.stack(np.broadcast_arrays(np.array([[0, 5], [6, 11], [12, 17]])[:, :, None, None],
                                      np.array([[0, 4], [-5, 9]])), axis=-1).astype(np.int64)  # an adaptive pool's
    y = n.op("GatherND", n.op("Transpose", y, perm=[2, 3, 0, 1]), n.const(at))  # 3, 2, 2, 2, N, 2
    y = n.op("ReduceMean", n.op("Transpose", y, perm=[4, 5, 0, 1, 2, 3]), ints(n, -3, -1), keepdims=0)
    y = n.op("Add", y, n.op("ReduceMax", n.op("Reshape", u, ints(n, 0, 2, 3, 6, 2, 5)), ints(n, 3, -1), keepdims=0))
    y = n.op("Where", n.const(rng.uniform(size=(2, 1, 2)) < 0.6), y, number(n, 0))  # a mask's
    y = n.op("Where", n.const(rng.uniform(size=(3, 2)) < 0.3), number(n, -0.75), y)
    y = n.op("Pad", y, ints(n, 0, 1, 0, 0, 0, 2, 0, 0))  # channels: a shortcut to a wider stage
    y = n.conv(y, 5, 6, r=1)
    emit("inner_axes", n.model(y), y)


def transposed():
    """Transposed convolutions, sums from one end on, and weights that were quantised."""
    reseed(43)
    n = Net(13, size=6, width=5)

    def spread(x, c, k, r=(3, 3), group=1, bias=True, **attrs):
        w = n.const(rng.normal(0, 0.4, (c, k // group, *r)).astype(np.float32))
        return n.op("ConvTranspose", x, w, *([n.vector(k)] if bias else []), group=group, **attrs)

    def quantised(array, zero, axis=None):
        scale = np.abs(array).max(axis=tuple(i for i in range(array.ndim) if i != axis), keepdims=True) / 100
        q = np.clip(np.round(array / scale) + zero, 0 if zero else -128, 255 if zero else 127)
        q = n.const(q.astype(np.uint8 if zero else np.int8))
        kind = dict(axis=axis) if axis is not None else {}
        size = scale.ravel() if axis is not None else scale.ravel()[0]
        zeros = [n.const(np.full(size.shape, zero, np.uint8))] if zero else []
        return n.op("DequantizeLinear", q, n.const(np.asarray(size, np.float32)), *zeros, **kind)

    w = quantised(rng.normal(0, 0.5, (8, 3, 3, 3)).astype(np.float32), 0, 0)
    x = n.op("Relu", n.op("Conv", "x", w, quantised(rng.normal(0, 1, 8).astype(np.float32), 7), pads=[1] * 4))
    y = n.op("Relu", spread(x, 8, 6, (2, 2), strides=[2, 2]))  # 12 x 10
    y = n.op("Relu", spread(y, 6, 9, group=3, strides=[2, 1], pads=[1, 0, 2, 1], output_padding=[1, 0], bias=False))
    y = n.op("Tanh", spread(y, 9, 4, (2, 3), dilations=[2, 1], auto_pad="SAME_UPPER"))
    y = n.op("Tanh", spread(y, 4, 4, group=4, strides=[1, 2], auto_pad="SAME_LOWER"))
    y = n.op("Relu", n.conv(y, 4, 6, strides=[4, 4]))
    y = n.op("CumSum", n.op("CumSum", y, n.const(np.int64(2))), n.const(np.int64(-1)), reverse=1)
    y = n.op("CumSum", y, n.const(np.int64(1)), exclusive=1)
    y = spread(n.op("Tanh", y), 6, 5, strides=[2, 1], output_shape=[12, 6])
    emit("transposed", n.model(y), y)


def functions():
    """Operators that the file defines itself, as unoptimised exports of PyTorch's newer exporter have them."""
    reseed(51)
    own = "own.layers"
    n = Net(18, size=10)

    def function(name, inputs, outputs, nodes, attributes=(), defaults=()):
        f = helper.make_function(own, name, inputs, outputs, nodes,
                                 [helper.make_opsetid("", 18), helper.make_opsetid(own, 1)], list(attributes))
        f.attribute_proto.extend(helper.make_attribute(k, v) for k, v in defaults)
        return f

    def given(node, **named):  # attributes of the node that are the caller's
        for name, of in named.items():
            a = node.attribute.add()
            a.name, a.ref_attr_name, a.type = name, of, onnx.AttributeProto.INTS if of != "slope" else onnx.AttributeProto.FLOAT
        return node

    node = helper.make_node
    leaky = function("leaky", ["x"], ["y"], [given(node("LeakyRelu", ["x"], ["y"]), alpha="slope")],
                     defaults=[("slope", 0.2)])
    layer = function("layer", ["x", "w", "b"], ["y", "before"],
                     [given(node("Conv", ["x", "w", "b"], ["before"], "conv"), pads="pads", strides="strides"),
                      node("leaky", ["before"], ["t"], "act", domain=own),
                      node("Constant", [], ["half"], value_float=0.5),
                      node("Mul", ["t", "half"], ["y"])], ["pads", "strides"])
    call = lambda x, *w, n_out=1, **a: n.op("layer", x, *w, n_out=n_out, domain=own, **a)  # noqa: E731
    y = call("x", n.weights(8, 3, 3, 3), n.vector(8), pads=[1] * 4, n_out=2)  # strides: nobody gives them
    z = call(y, n.weights(8, 8, 3, 3), pads=[1] * 4, strides=[2, 2], n_out=2)  # no bias
    before = n.nodes[-1].output[1]
    y = n.op("Add", z, n.op("Sigmoid", before))
    y = n.op("leaky", y, domain=own, slope=0.05)
    y = n.op("Relu", n.conv(y, 8, 6))
    flat, s = n.head(y, 6)
    model = n.model(s)
    model.functions.extend([leaky, layer])
    model.opset_import.append(helper.make_opsetid(own, 1))
    emit("functions", model, flat, y)
    n = Net(18, size=10)  # numbers of the type that something else has
    y = n.op("Mul", n.op("CastLike", number(n, 0.5), "x"), n.conv("x", 3, 3, pads=[1] * 4))
    y = n.conv(n.op("CastLike", n.op("Add", y, n.op("CastLike", ints(n, 2), y)), "x"), 3, 5)
    emit("cast_like", n.model(y), y)


def lowest_borders():
    reseed(46)
    n = Net(17, size=9, width=8)  # "same" pools of TensorFlow's in PyTorch; the border is theirs alone
    pads = lambda t, l, b, r: ints(n, 0, 0, t, l, 0, 0, b, r)  # noqa: E731
    x = n.conv("x", 3, 6, pads=[1] * 4)  # signs of both kinds: zeros would be seen
    y = n.op("Pad", x, pads(0, 1, 1, 2), number(n, -np.inf))
    y = n.op("Concat", n.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2]),
             n.op("MaxPool", y, kernel_shape=[3, 4], strides=[2, 2], pads=[0, 0, 0, 1]), axis=1)
    y = n.op("Pad", n.conv(y, 12, 5, r=1), pads(1, 1, 1, 1), number(n, np.finfo(np.float32).min))
    y = n.op("Relu", n.conv(n.op("MaxPool", y, kernel_shape=[3, 3], strides=[1, 1]), 5, 4, r=1))
    emit("pool_lowest_border", n.model(y), y)


def class_tokens():
    reseed(47)
    n = Net(17, size=8)  # as PyTorch writes token.expand(x.shape[0], -1, -1) and torch.cat
    batch = lambda v: n.op("Unsqueeze", n.op("Gather", n.op("Shape", v), n.const(np.int64(0)), axis=0), ints(n, 0))  # noqa: E731
    token = n.const(rng.uniform(-1, 1, (1, 2, 12)).astype(np.float32))
    x = n.conv("x", 3, 12, r=4, strides=[4, 4])  # patches
    y = n.op("Transpose", n.op("Reshape", x, ints(n, 0, 12, -1)), perm=[0, 2, 1])
    t = n.op("Expand", token, n.op("Concat", batch(y), ints(n, 1, 1), axis=0))
    y = n.op("Concat", t, y, axis=1)
    # the batch asked of the tokens, as PiT does; then tokens behind the places, repeated by Tile
    z = n.op("Reshape", n.op("MatMul", y, n.weights(12, 12)), n.op("Concat", batch(t), ints(n, 6, 12), axis=0))
    z = n.op("Relu", z)
    u = n.op("Tile", n.const(rng.uniform(-1, 1, (1, 1, 12)).astype(np.float32)),
             n.op("Concat", batch(z), ints(n, 1, 1), axis=0))
    z = n.op("Concat", z, u, axis=1)
    # and a map beside one: channels that are the same for every picture
    m = n.op("Expand", n.const(rng.uniform(-1, 1, (1, 2, 2, 2)).astype(np.float32)),
             n.op("Concat", batch("x"), ints(n, 1, 1, 1), axis=0))
    m = n.op("Relu", n.conv(n.op("Concat", x, m, axis=1), 14, 7, r=2))
    z = n.op("Concat", n.op("ReduceMean", z, axes=[1], keepdims=0), n.op("Flatten", m), axis=1)
    emit("class_tokens", n.model(z), z)


def unit_lengths():
    reseed(48)
    n = Net(17, size=16)  # as PyTorch writes normalize(x, dim): the length is expanded to the size of x
    unit = lambda v, axis: n.op("Div", v, n.op("Expand", n.op("ReduceL2", v, axes=[axis], keepdims=1), n.op("Shape", v)))  # noqa: E731
    x = n.conv("x", 3, 12, r=4, strides=[4, 4])
    y = n.op("Transpose", n.op("Reshape", x, ints(n, 0, 12, -1)), perm=[0, 2, 1])
    q, k = unit(n.op("MatMul", y, n.weights(12, 12)), -1), unit(n.op("MatMul", y, n.weights(12, 12)), -1)
    a = unit(n.op("MatMul", q, n.weights(12, 1)), 1)  # of all places one number, expanded along them
    g = n.op("ReduceSum", n.op("Mul", a, q), ints(n, 1), keepdims=1)
    y = n.op("Add", n.op("MatMul", n.op("Mul", g, k), n.weights(12, 12)), q)
    y = n.op("Reshape", n.op("Transpose", y, perm=[0, 2, 1]), ints(n, 0, 12, 4, 4))
    y = n.op("Relu", n.op("Add", unit(y, 1), unit(x, 3)))
    emit("unit_lengths", n.model(y), y)


GROUPS = [convolutions, normalisations, activations, pools, pads_and_means, vectors, matrices, joins, pixels,
          storage, torch_networks, layer_norms, vector_arithmetic, mixed_orders, concat_layouts, parts, shuffles, computed_constants, types_throughout, heads,
          rare_activations, two_maps, reductions, other_norms, resamplings, orders, attention, tails, spelled_norms, windows, inner_axes, transposed, functions, lowest_borders,
          class_tokens, unit_lengths]


def main():
    wanted = [word for word in sys.argv[1:] if word != "-v"]
    for group in GROUPS:
        if not wanted or group.__name__ in wanted:
            group()
    total = sum(os.path.getsize(os.path.join(HERE, f)) for f in os.listdir(HERE))
    print(f"{len(made)} networks, {total} bytes")
    for name in made if "-v" in sys.argv else ():
        m = onnx.load(os.path.join(HERE, name + ".onnx"), load_external_data=False)
        print(name, m.opset_import[0].version, [n.op_type for n in m.graph.node])


if __name__ == "__main__":
    main()

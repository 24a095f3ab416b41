"""Random networks in the trunk, beside ONNX Runtime, on every instruction set that oneDNN can be
held to.

usage: test_graphs.py GRAPH-FEATURES [--seconds S] [--count N] [--first SEED] [--seed SEED --keep FOLDER]

A seed is a network, pictures and the tensor that is looked at. They run from --first (1) on, until
there were --count of them or --seconds are over. Every failure prints its seed, the first node that
computes wrongly, and a command that runs it again; --keep leaves the network there.

    tests/peer/run.sh tests/peer/test_graphs.py build/graph_features --count 5000

What is made: convolutions (grouped, depthwise, dilated, padded in all ways), batch normalisation,
activations and their spelled-out forms, arithmetic of equal maps and of maps with what is broadcast
into them, pools, residuals, concatenations, squeeze and excitation, pads, layer normalisation as an operator and
spelled out, windows of all pictures in a row, transposed convolutions, dense layers. Each operator reads what another one left, in the layout that it chose.

Tolerance: float against float in another order of summing; see test_onnx.c. A network may blow
roundings up, so one that is beyond it is judged by what ONNX Runtime itself makes of weights whose
last bits differ.
"""
import argparse
import os
import select
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto as T

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "data", "onnx"))
import make_models  # noqa: E402: it lies among the models

TOLERANCE, SMALL = 1e-9, 0.1
CHANNELS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 28, 30, 32, 36, 40, 48, 60, 64, 72, 96, 128]
# Name for ONEDNN_MAX_CPU_ISA, and the processor's flag without which it holds nothing back.
LEVELS = [("SSE41", "sse4_1"), ("AVX", "avx"), ("AVX2", "avx2"), ("AVX512_CORE", "avx512bw"), ("", "")]


# ---- networks ---------------------------------------------------------------------------------


class Value:
    """A tensor: N x C x H x W, or N x C (H = 0)."""

    def __init__(self, name, c, h=0, w=0):
        self.name, self.c, self.h, self.w = name, c, h, w

    def like(self, other):
        return (self.c, self.h, self.w) == (other.c, other.h, other.w)


class Graph:
    """A random network. Methods that make operators take and return a Value."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        make_models.rng = self.random
        self.opset = self.pick([9, 11, 13, 17, 20])
        self.nhwc = self.chance(0.15)
        h, w = (int(n) for n in self.random.integers(6, self.pick([20, 20, 20, 20, 60]), 2))
        c = self.pick([3, 3, 3, 1])
        self.net = make_models.Net(self.opset, channels=c, size=h, width=w, nhwc=self.nhwc)
        self.pixels = self.random.integers(0, 256, (self.pick([1, 2, 3]), h, w, c), dtype=np.uint8)
        self.channels_last = set()  # Names of tensors that are N x H x W x C.
        x = Value("x", c, h, w)
        if self.nhwc:
            x = self.add("Transpose", x, perm=[0, 3, 1, 2])
        self.values = [x]
        self.build()

    def pick(self, options):
        return options[self.random.integers(len(options))]

    def chance(self, p):
        return self.random.random() < p

    def add(self, type_, *inputs, like=None, **attrs):
        """A node whose output has the shape of `like`, or of its first input."""
        like = like or inputs[0]
        name = self.net.op(type_, *(i.name if isinstance(i, Value) else i for i in inputs), **attrs)
        return Value(name, like.c, like.h, like.w)

    def either_order(self, type_, a, b, like=None):
        ins = (a, b) if self.chance(0.5) else (b, a)
        return self.add(type_, *ins, like=like or a)

    def number(self, value):
        return self.net.const(np.float32(value))

    # Layers.

    def slide(self, n, reach, stride, before, after, ceil=False):
        room = n + before + after - reach
        if room < 0:
            return 0
        out = room // stride + 1
        return out + (ceil and room % stride > 0 and out * stride < n + before)

    def window(self, x, rs, strides, dilations=(1, 1), ceil=False, most_pad=None):
        """Random pads; (attributes, height, width), or None when the window is too large."""
        reach = [(k - 1) * d + 1 for k, d in zip(rs, dilations)]
        form = self.pick(["same", "same", "any", "none", "SAME_UPPER", "SAME_LOWER", "VALID"])
        if form.isupper():
            attrs = dict(auto_pad=form)
            if form != "VALID" and (max(dilations) > 1 or any(k < s for k, s in zip(rs, strides))):
                return None  # ONNX Runtime refuses them.
            if form == "VALID":
                size = [self.slide(n, k, s, 0, 0) for n, k, s in zip((x.h, x.w), reach, strides)]
            else:
                size = [-(-n // s) for n, s in zip((x.h, x.w), strides)]
        else:
            most = most_pad or (2, 2)
            pads = [0] * 4
            if form == "same":
                pads = [(k - 1) // 2 for k in reach] * 2
            elif form == "any":
                pads = [int(self.random.integers(0, most[i % 2] + 1)) for i in range(4)]
            if most_pad:
                pads = [min(p, most[i % 2]) for i, p in enumerate(pads)]
            attrs = dict(pads=pads)
            size = [self.slide(n, k, s, pads[i], pads[i + 2], ceil)
                    for i, (n, k, s) in enumerate(zip((x.h, x.w), reach, strides))]
        if min(size) < 1 or any(n + 2 < k for n, k in zip((x.h, x.w), reach)):
            return None
        attrs.update(strides=list(strides))
        return attrs, size[0], size[1]

    def conv(self, x, k=None, same=False, r=None):
        """same: the size stays."""
        r = r or self.pick([1, 1, 1, 3, 3, 3, 5, 7, (1, 7), (7, 1), (3, 2), (2, 2)])
        rs = r if isinstance(r, tuple) else (r, r)
        if not k and self.chance(0.2):
            k = x.c if same else x.c * self.pick([1, 1, 2])
        k = k or self.pick(CHANNELS)
        groups = [g for g in range(2, x.c + 1) if x.c % g == 0 and k % g == 0]
        group = self.pick(groups + [groups[-1]]) if groups and self.chance(0.5) else 1
        attrs, h, w = dict(pads=[(n - 1) // 2 for n in rs] + [n // 2 for n in rs]), x.h, x.w
        if not same:
            dilations = self.pick([(1, 1), (1, 1), (1, 1), (2, 2), (1, 2)])
            found = self.window(x, rs, self.pick([(1, 1), (1, 1), (2, 2), (1, 2)]), dilations)
            if found:
                attrs, h, w = found
                attrs.update(dilations=list(dilations))
            elif min(x.h, x.w) < 1:
                return x
        y = Value(self.net.conv(x.name, x.c, k, rs, bias=self.chance(0.7), group=group, **attrs), k, h, w)
        return self.norm(y) if self.chance(0.3) else y

    def norm(self, x):
        return Value(self.net.bn(x.name, x.c, epsilon=self.pick([1e-5, 1e-3])), x.c, x.h, x.w)

    def act(self, x):
        kinds = ["Relu", "Relu", "Clip", "Clip1", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid", "silu", "swish",
                 "gelu", "gelu"]
        if self.opset >= 14:
            kinds.append("HardSwish")
        if self.opset >= 20:
            kinds.append("Gelu")
        kind = self.pick(kinds)
        if kind in ("Clip", "Clip1"):
            low, high = (0.0, 6.0) if kind == "Clip" else (-0.5, 1.5)
            if self.opset < 11:
                return self.add("Clip", x, min=low, max=high)
            return self.add("Clip", x, self.number(low), self.number(high))
        if kind == "LeakyRelu":
            return self.add(kind, x, alpha=self.pick([0.01, 0.1, 0.3]))
        if kind == "HardSigmoid":
            return self.add(kind, x, alpha=self.pick([0.2, 1 / 6]), beta=0.5)
        if kind == "silu":
            return self.either_order("Mul", x, self.add("Sigmoid", x))
        if kind == "swish":
            return self.either_order("Mul", x, self.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))
        if kind == "gelu":
            return self.gelu(x)
        return self.add(kind, x)

    def gelu(self, x):
        if self.chance(0.5):
            erf = self.add("Erf", self.add("Div", x, self.number(2**0.5)))
        else:
            erf = self.add("Erf", self.either_order("Mul", x, self.number(0.5**0.5), like=x))
        one = self.either_order("Add", erf, self.number(1), like=x)
        if self.chance(0.5):
            return self.either_order("Mul", self.either_order("Mul", x, one), self.number(0.5), like=x)
        return self.either_order("Mul", x, self.either_order("Mul", one, self.number(0.5), like=x))

    def maybe_act(self, x, p=0.5):
        return self.act(x) if self.chance(p) else x

    def pool(self, x):
        r, strides = self.pick([(2, 2), (3, 3), (3, 3), (3, 2), (1, 2), (5, 5)]), \
            self.pick([(1, 1), (2, 2), (2, 2), (2, 1)])
        # A window that begins behind the picture counts for some and not for others.
        ceil = bool(self.opset >= 11 and self.chance(0.4) and strides[0] <= r[0])
        found = self.window(x, r, strides, ceil=ceil,
                            most_pad=((r[0] - 1) // 2, (r[1] - 1) // 2))
        if not found:
            return x
        attrs, h, w = found
        if "auto_pad" not in attrs and self.opset >= 11:
            attrs.update(ceil_mode=int(ceil))
        elif ceil:
            return x
        if self.chance(0.5):
            return self.add("MaxPool", x, like=Value("", x.c, h, w), kernel_shape=list(r), **attrs)
        attrs.update(count_include_pad=int(self.chance(0.4)))
        return self.add("AveragePool", x, like=Value("", x.c, h, w), kernel_shape=list(r), **attrs)

    def mean(self, x):
        """N x C x 1 x 1."""
        like = Value("", x.c, 1, 1)
        if self.chance(0.5):
            return self.add("GlobalAveragePool", x, like=like)
        if self.opset >= 18:
            return self.add("ReduceMean", x, self.net.const(np.array([2, 3], np.int64)), like=like, keepdims=1)
        return self.add("ReduceMean", x, like=like, axes=[2, 3], keepdims=1)

    def pad(self, x):
        p = [int(n) for n in self.random.integers(0, 3, 4)]
        pads = [0, 0, p[0], p[1], 0, 0, p[2], p[3]]
        like = Value("", x.c, x.h + p[0] + p[2], x.w + p[1] + p[3])
        if self.opset < 11:
            return self.add("Pad", x, like=like, pads=pads)
        return self.add("Pad", x, self.net.const(np.array(pads, np.int64)), like=like)

    # Several tensors.

    def partner(self, x):
        """Another tensor of the same shape, of any producer."""
        old = [v for v in self.values if v.like(x)]
        if old and self.chance(0.4):
            return self.pick(old)
        if not x.h:
            return self.dense(x, x.c)
        kind = self.pick(["itself", "conv", "conv", "conv", "pool", "act", "norm", "pad", "concat"])
        if kind == "itself":
            return x
        if kind == "pool":
            return self.add(self.pick(["MaxPool", "AveragePool"]), x, kernel_shape=[3, 3], pads=[1] * 4)
        if kind == "act":
            return self.act(x)
        if kind == "norm":
            return self.norm(x)
        if kind == "pad":
            big = self.add("Pad", x, like=Value("", x.c, x.h + 2, x.w + 2), pads=[0, 0, 1, 1] * 2) \
                if self.opset < 11 else \
                self.add("Pad", x, self.net.const(np.array([0, 0, 1, 1] * 2, np.int64)),
                         like=Value("", x.c, x.h + 2, x.w + 2))
            return self.add("MaxPool", big, like=x, kernel_shape=[3, 3])
        if kind == "concat" and x.c > 1:
            c = int(self.random.integers(1, x.c))
            return self.add("Concat", self.conv(x, c, True), self.conv(x, x.c - c, True), like=x, axis=1)
        return self.maybe_act(self.conv(x, x.c, True), 0.3)

    def binary(self, x):
        y = self.either_order(self.pick(["Add", "Add", "Mul"]), x, self.partner(x))
        return self.maybe_act(y, 0.6)

    def constant(self, x):
        ones = [1] * (2 if x.h else 0)
        value = self.number(self.random.uniform(0.5, 1.5)) if self.chance(0.3) else \
            self.net.const(self.random.uniform(0.5, 1.5, self.pick([[x.c], [1, x.c]]) + ones).astype(np.float32))
        kind = self.pick(["Add", "Mul", "Sub", "Div", "minus"])
        if kind == "minus":
            return self.add("Sub", value, x, like=x)
        if kind in ("Sub", "Div"):
            return self.add(kind, x, value)
        return self.either_order(kind, x, value, like=x)

    def broadcast(self, x):
        kind = self.pick(["channel", "channel", "pixel", "row"])
        if kind == "channel":
            small = self.maybe_act(self.conv(self.mean(x), x.c, True, 1), 0.6)
        elif kind == "pixel":
            small = self.maybe_act(self.conv(x, 1, True), 0.6)
        else:
            small = self.add("AveragePool", x, like=Value("", x.c, 1, x.w), kernel_shape=[x.h, 1])
        return self.maybe_act(self.either_order(self.pick(["Add", "Mul"]), x, small, like=x))

    def gate(self, x):
        """Squeeze and excitation."""
        y = self.act(self.conv(self.mean(x), max(1, x.c // 4), True, 1))
        y = self.conv(y, x.c, True, 1)
        y = self.add("Sigmoid", y) if self.chance(0.6) else self.add("HardSigmoid", y, alpha=1 / 6, beta=0.5)
        return self.maybe_act(self.either_order("Mul", x, y, like=x), 0.2)

    def residual(self, x):
        y = self.act(self.conv(x, self.pick(CHANNELS), True))
        y = self.maybe_act(self.conv(y, x.c, True), 0.2)
        other = x if self.chance(0.7) else self.conv(x, x.c, True, 1)
        return self.maybe_act(self.either_order("Add", y, other), 0.7)

    def concat(self, x):
        parts = [x]
        for _ in range(self.pick([1, 1, 2, 3])):
            old = [v for v in self.values if (v.h, v.w) == (x.h, x.w) and v.c <= 72]
            parts.append(self.pick(old) if old and self.chance(0.5) else self.maybe_act(self.conv(x, None, True)))
        self.random.shuffle(parts)
        c = sum(p.c for p in parts)
        return self.add("Concat", *parts, like=Value("", c, x.h, x.w), axis=self.pick([1, -3]))

    def part(self, x):
        """Some of the channels, in whole blocks of 16 or not; joined again with what was in front."""
        first = int(self.random.integers(0, x.c))
        if x.c > 16 and self.chance(0.4):
            first -= first % 16
        size = int(self.random.integers(1, x.c - first + 1))
        ends = first + size if first + size < x.c or self.chance(0.5) else 2**62
        y = self.slice(x, first, ends, size)
        if first == 0 or self.chance(0.5):
            return y
        z = self.slice(x, 0, first, first)
        return self.add("Concat", y, z, like=Value("", first + size, x.h, x.w), axis=1)

    def shuffle(self, x):
        """From so many groups of channels one each in turn."""
        groups = self.pick([g for g in range(1, x.c + 1) if x.c % g == 0])
        ints = lambda *numbers: self.net.const(np.array(numbers, np.int64))  # noqa: E731
        y = self.add("Reshape", x, ints(-1, groups, x.c // groups, x.h, x.w))
        y = self.add("Transpose", y, perm=[0, 2, 1, 3, 4])
        return self.add("Reshape", y, ints(-1, x.c, x.h, x.w), like=x)

    def slice(self, x, starts, ends, size):
        like, where = Value("", size, x.h, x.w), {"starts": [starts], "ends": [ends], "axes": [1]}
        if self.opset < 10:
            return self.add("Slice", x, like=like, **where)
        ints = [self.net.const(np.array(numbers, np.int64)) for numbers in where.values()]
        return self.add("Slice", x, *ints, like=like)

    def add_last(self, *words, **kind):
        """As add, of a tensor whose channels are last."""
        y = self.add(*words, **kind)
        self.channels_last.add(y.name)
        return y

    def reduced(self, type_, x, axis):
        if self.opset < 18:
            return self.net.op(type_, x, axes=[axis])
        return self.net.op(type_, x, self.net.const(np.array([axis], np.int64)))

    def spelled_norm(self, x, c, axis, shape):
        """Layer normalisation as exporters write it where it is no operator, of a tensor's name."""
        op, constant = self.net.op, lambda: self.net.const(self.random.uniform(0.5, 1.5, shape).astype(np.float32))
        d = op("Sub", x, self.reduced("ReduceMean", x, axis))
        square = op("Pow", d, self.number(2)) if self.chance(0.5) else op("Mul", d, d)
        y = op("Div", d, op("Sqrt", op("Add", self.reduced("ReduceMean", square, axis), self.number(1e-3))))
        y = op("Mul", y, constant()) if self.chance(0.8) else y
        return op("Add", y, constant()) if self.chance(0.8) else y

    def norm_of_channels(self, x):
        return Value(self.spelled_norm(x.name, x.c, 1, [x.c, 1, 1]), x.c, x.h, x.w) if x.c > 1 else self.norm(x)

    def windows(self, x):
        """Each window's pixels look at each other, by rows of the windows of all pictures."""
        r, s = self.pick([n for n in (1, 2, 3) if x.h % n == 0]), self.pick([n for n in (1, 2, 3) if x.w % n == 0])
        op, ints = self.net.op, lambda *numbers: self.net.const(np.array(numbers, np.int64))  # noqa: E731
        h, w = x.h // r, x.w // s
        if h * w > 300:
            return self.norm(x)
        y = op("Transpose", op("Reshape", x.name, ints(0, x.c, r, h, s, w)), perm=[0, 2, 4, 3, 5, 1])
        y = op("Reshape", y, ints(-1, h * w, x.c))
        if self.chance(0.5) and x.c > 1:
            y = self.spelled_norm(y, x.c, -1, [x.c])
        k = self.pick(CHANNELS)
        y = op("Add", op("MatMul", y, self.net.weights(x.c, k)), self.net.vector(k))
        if self.chance(0.5):
            a = op("MatMul", op("Mul", y, self.number(k**-0.5)), op("Transpose", y, perm=[0, 2, 1]))
            y = op("MatMul", op("Softmax", a, axis=2), y)
        y = op("Transpose", op("Reshape", y, ints(-1, r, s, h, w, k)), perm=[0, 5, 1, 3, 2, 4])
        return Value(op("Reshape", y, ints(-1, k, x.h, x.w)), k, x.h, x.w)

    def transposed_conv(self, x):
        if x.h * x.w > 600:
            return self.conv(x)
        r, stride = self.pick([(1, 1), (2, 2), (3, 3), (3, 2)]), self.pick([(1, 1), (2, 2), (2, 1)])
        k, attrs = self.pick(CHANNELS), dict(strides=list(stride), group=1)
        if x.c % 2 == 0 and k % 2 == 0 and self.chance(0.4):
            attrs["group"] = 2
        pads = [int(self.random.integers(0, n)) for n in r] * 2
        more = [int(self.random.integers(0, n)) for n in stride]
        size = [(n - 1) * t + q - 2 * p + m for n, t, q, p, m in zip((x.h, x.w), stride, r, pads, more)]
        if min(size) < 1:
            return self.conv(x)
        w = self.net.weights(x.c, k // attrs["group"], *r)
        return self.add("ConvTranspose", x, w, *([self.net.vector(k)] if self.chance(0.7) else []),
                        like=Value("", k, *size), pads=pads, output_padding=more, **attrs)

    def pixelwise(self, x, back=True):
        """ConvNeXt's: layer normalisation and dense layers over the channels of each pixel."""
        y = self.add_last("Transpose", x, perm=[0, 2, 3, 1])
        if self.opset >= 17:
            y = self.add_last("LayerNormalization", y, self.net.vector(x.c, 0.5, 1.5), self.net.vector(x.c), axis=-1)
        elif x.c > 1:
            y = Value(self.spelled_norm(y.name, x.c, -1, [x.c]), x.c, x.h, x.w)
        k = self.pick(CHANNELS)
        y = self.add_last("MatMul", y, self.net.weights(x.c, k), like=Value("", k, x.h, x.w))
        bias = self.net.vector(k)
        y = self.add_last("Add", *self.pick([(y, bias), (bias, y)]), like=y)
        if self.chance(0.5):
            y = self.add_last(self.pick(["Relu", "Sigmoid", "Tanh"]), y)
        if self.chance(0.3):  # and what has N,H,W,C for its sizes, but lies as rows do, as MaxViT's windows
            shape = lambda *s: self.net.const(np.array(s, np.int64))  # noqa: E731
            z = self.net.op("Reshape", self.net.op("Reshape", y.name, shape(0, x.h * x.w, k)), shape(0, x.h, x.w, k))
            z = Value(self.net.op(self.pick(["Relu", "Sigmoid", "Tanh"]), z), k, x.h, x.w)
            y = self.add_last(self.pick(["Add", "Mul", "Sub"]), *self.pick([(y, z), (z, y)]), like=y)
        return self.add("Transpose", y, perm=[0, 3, 1, 2]) if back else y

    # Vectors.

    def flat(self, x):
        if self.chance(0.5) and x.c * x.h * x.w <= 2000:
            return self.add("Flatten", x, like=Value("", x.c * x.h * x.w), axis=1)
        return self.add("Flatten", self.mean(x), like=Value("", x.c), axis=1)

    def dense(self, x, k=None):
        k = k or self.pick(CHANNELS)
        if self.chance(0.5):
            return Value(self.net.gemm(x.name, x.c, k), k)
        y = self.add("MatMul", x, self.net.weights(x.c, k), like=Value("", k))
        return self.either_order("Add", y, self.net.vector(k), like=y)

    def vector_step(self, x):
        return self.pick([lambda: self.maybe_act(self.dense(x)), lambda: self.act(x), lambda: self.binary(x),
                          lambda: self.constant(x),
                          lambda: self.add("Concat", x, self.dense(x, 5), like=Value("", x.c + 5), axis=1)])()

    # The whole.

    def map_step(self, x):
        if self.chance(0.35):
            return self.maybe_act(self.conv(x), 0.5)
        return self.pick([self.binary, self.binary, self.broadcast, self.constant, self.gate, self.residual,
                          self.concat, self.part, self.shuffle, self.pool, self.act, self.pad, self.norm, self.pixelwise,
                          self.norm_of_channels, self.windows, self.transposed_conv,
                          lambda v: self.add("Identity", v)])(x)

    def build(self):
        for _ in range(int(self.random.integers(2, 9))):
            x = self.values[-1] if self.chance(0.8) else self.pick(self.values)
            if x.c > 160:
                x = self.conv(x, 16, True, 1)
            self.values.append(self.map_step(x))
        if self.chance(0.06):
            self.values.append(self.pixelwise(self.values[-1], back=False))
        elif self.chance(0.3):
            self.values.append(self.flat(self.values[-1]))
            for _ in range(int(self.random.integers(0, 4))):
                self.values.append(self.vector_step(self.values[-1]))
        if len(self.net.nodes) <= self.nhwc or self.values[-1].name == "x":
            self.values.append(self.conv(self.values[-1]))
        self.output = self.values[-1].name
        self.pooled = bool(self.values[-1].h and self.chance(0.3))


# ---- both sides -------------------------------------------------------------------------------


class Worker:
    """The program, held to an instruction set. It is started again when it dies."""

    def __init__(self, program, level, folder):
        self.program, self.level, self.folder, self.process = program, level, folder, None

    def start(self):
        env = dict(os.environ, OMP_WAIT_POLICY="passive")
        env.pop("ONEDNN_MAX_CPU_ISA", None)
        if self.level:
            env["ONEDNN_MAX_CPU_ISA"] = self.level
        self.process = subprocess.Popen([self.program, "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=env)

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, pooled):
        """Features as an array, or what went wrong as a text."""
        if not self.process:
            self.start()
        path = {name: os.path.join(self.folder, name) for name in ("m.onnx", "pixels", "features")}
        self.process.stdin.write(" ".join(path.values()) + (" pooled\n" if pooled else " map\n"))
        self.process.stdin.flush()
        line = ""
        if select.select([self.process.stdout], [], [], 60)[0]:
            line = self.process.stdout.readline()
        if line.startswith("ok "):
            shape = [int(n) for n in line.split()[1:]]
            return np.fromfile(path["features"], dtype=np.float32).reshape(-1, *shape)
        if line:
            return line.strip()
        code = self.process.poll()
        self.stop()
        return f"it ended with code {code}" if code is not None else "it did not answer within 60 s"


def expected(model, output, graph, pooled):
    """What ONNX Runtime makes of it: float [n, h, w, c]."""
    y, = make_models.run(model, [output], graph.pixels, False)
    y = y.reshape(*y.shape, 1, 1) if y.ndim == 2 else y
    if output not in graph.channels_last:
        y = y.transpose(0, 2, 3, 1)
    return y.mean(axis=(1, 2), keepdims=True, dtype=np.float64) if pooled else y


def distance(want, got):
    """Normalised squared error; infinite for another shape, or what is no number. What is small all over,
    as the tail of a GELU or the flat side of a leaky ReLU, is what is left of numbers near one."""
    if isinstance(got, str) or want.shape != got.shape or not np.isfinite(got).all():
        return np.inf
    want = want.astype(np.float64)
    return ((got - want)**2).sum() / max((want**2).sum(), SMALL**2 * want.size)


def amplification(model, output, graph, pooled, want):
    """The error that another last bit of every weight makes."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    random = np.random.default_rng(0)
    for t in other.graph.initializer:
        if t.data_type == T.FLOAT:
            values = onnx.numpy_helper.to_array(t)
            values = values * (1 + 1e-7 * random.choice([-1, 1], values.shape)).astype(np.float32)
            t.raw_data = values.astype(np.float32).tobytes()
    return distance(want, expected(other, output, graph, pooled))


class Case:
    """A network with one of its tensors as the output, written for the workers."""

    def __init__(self, graph, output, pooled, folder):
        self.graph, self.model, self.output, self.pooled = graph, graph.net.model(output), output, pooled
        with open(os.path.join(folder, "m.onnx"), "wb") as f:
            f.write(self.model.SerializeToString())
        graph.pixels.tofile(os.path.join(folder, "pixels"))
        self.want = expected(self.model, output, graph, pooled)

    def is_judged(self):
        """False when there is nothing to compare: numbers that overflowed, or only zeros."""
        return bool(np.isfinite(self.want).all() and (self.want != 0).any())

    def wrong(self, got):
        """What is wrong, or an empty text."""
        if isinstance(got, str):
            return got
        error = distance(self.want, got)
        if error <= TOLERANCE:
            return ""
        own = amplification(self.model, self.output, self.graph, self.pooled, self.want)
        return f"NMSE {error:.2g}, where another last bit of the weights makes {own:.2g}" if error > 100 * own else ""


def first_wrong(graph, worker, folder):
    """The first node that computes wrongly when it is the last one."""
    for node in graph.net.nodes:
        if node.output[0] == graph.output and not graph.pooled:
            break
        try:
            case = Case(graph, node.output[0], False, folder)
        except Exception:  # A tensor that ONNX Runtime cannot give is none that can be compared.
            continue
        got = worker.ask(False)
        if case.is_judged() and not (isinstance(got, str) and got.startswith("refused")) and case.wrong(got):
            return f"{node.name} of {len(graph.net.nodes)} nodes"
    return "the output itself"


# ---- the run ----------------------------------------------------------------------------------


def levels():
    try:
        with open("/proc/cpuinfo") as file:
            flags = next(line for line in file if line.startswith("flags")).split()
    except (OSError, StopIteration):
        return [""]
    return [name for name, flag in LEVELS if not flag or flag in flags]


def check_seed(seed, workers, folder, options):
    """(compared, failed)."""
    graph = Graph(seed)
    try:
        case = Case(graph, graph.output, graph.pooled, folder)
    except Exception as error:
        sys.exit(f"seed {seed}: ONNX Runtime has no result: {error}")
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
        onnx.save(case.model, os.path.join(options.keep, f"{seed}.onnx"))
    if not case.is_judged():
        return False, 0
    wrong = {worker: case.wrong(worker.ask(graph.pooled)) for worker in workers}
    failing = [worker for worker in workers if wrong[worker]]
    if failing:
        what = "; ".join(f"{worker.level or 'default'}: {wrong[worker]}" for worker in failing)
        print(f"FAILED: seed {seed}: {what}\n        first wrong: {first_wrong(graph, failing[0], folder)}\n"
              f"        again: {os.path.join(HERE, 'run.sh')} {os.path.abspath(__file__)} {options.program} "
              f"--seed {seed} --keep /tmp/graphs", flush=True)
    return True, bool(failing)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--count", type=int, default=1 << 30)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--keep", default="")
    parser.add_argument("--most", type=int, default=20, help="failures before it stops")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    if options.seed is not None:
        options.first, options.count = options.seed, 1
    end = time.monotonic() + options.seconds
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        workers = [Worker(options.program, level, folder) for level in levels()]
        n = compared = failures = 0
        while n < options.count and time.monotonic() < end and failures < options.most:
            judged, failed = check_seed(options.first + n, workers, folder, options)
            n, compared, failures = n + 1, compared + judged, failures + failed
        for worker in workers:
            worker.stop()
    names = ", ".join(worker.level or "default" for worker in workers)
    print(f"seeds {options.first} to {options.first + n - 1}: {compared} networks compared on {names}; "
          f"{failures} failures")
    if n >= 20 and compared < 0.9 * n:
        sys.exit(f"only {compared} of {n} networks make something that can be compared")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()

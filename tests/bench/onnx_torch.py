"""A CNN from an ONNX file as a PyTorch module: what a PyTorch user would run, for comparison."""
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


def cut_at_features(model):
    """The model's graph up to what goes into its last layer with weights, as (model, name)."""
    last = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul", "Conv")][-1]
    name = last.input[0]
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    wanted, stack = set(), [name]
    while stack:
        node = makers.get(stack.pop())
        if node is not None and node.output[0] not in wanted:
            wanted.add(node.output[0])
            stack.extend(node.input)
    kept = [n for n in model.graph.node if n.output[0] in wanted]
    del cut.graph.node[:], cut.graph.output[:]
    cut.graph.node.extend(kept)
    used = {i for n in kept for i in n.input}
    weights = [w for w in model.graph.initializer if w.name in used]
    del cut.graph.initializer[:]
    cut.graph.initializer.extend(weights)
    cut.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return cut, name


def as_features(y):
    """[n, D]: the mean over a map, as Thaw keeps it."""
    y = np.asarray(y)
    return y.mean((2, 3)) if y.ndim == 4 else y.reshape(len(y), -1)


def _pads(attributes, x, kernel, strides, dilations):
    """Left, right, top, bottom."""
    automatic = attributes.get("auto_pad", b"NOTSET").decode()
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        result = []
        for axis in (1, 0):
            size, reach = x.shape[2 + axis], (kernel[axis] - 1) * dilations[axis] + 1
            total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
            low = total // 2 if automatic == "SAME_UPPER" else total - total // 2
            result += [low, total - low]
        return result
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return [left, right, top, bottom]


def _split(pads):
    """What a layer can pad by itself, and what must be padded before it."""
    left, right, top, bottom = pads
    if left == right and top == bottom:
        return (top, left), None
    return (0, 0), pads


class OnnxModule(torch.nn.Module):
    """Runs the nodes in order. Activations are computed in place where nothing else reads their
    input, as the usual modules are told to."""

    def __init__(self, model):
        super().__init__()
        self.input = next(
            i.name
            for i in model.graph.input
            if i.name not in {w.name for w in model.graph.initializer}
        )
        self.output = model.graph.output[0].name
        self.values = {}
        self.nodes = []
        for w in model.graph.initializer:
            self._keep(w.name, numpy_helper.to_array(w))
        readers = {}
        for node in model.graph.node:
            for name in node.input:
                readers[name] = readers.get(name, 0) + 1
        for node in model.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant":
                self._keep(node.output[0], numpy_helper.to_array(attributes["value"]))
                continue
            if not hasattr(self, "op_" + node.op_type):
                raise NotImplementedError(f"{node.op_type} (node {node.name})")
            alone = readers[node.input[0]] == 1 and node.input[0] != self.input
            self.nodes.append((node.op_type, list(node.input), node.output[0], attributes, alone))

    def _keep(self, name, array):
        """A weight; small integers and limits are arguments: numbers and lists of Python, since
        torch.compile makes tensors of NumPy's."""
        if array.dtype == np.float32 and array.ndim > 0:
            attribute = f"w{len(self.values)}"
            self.register_buffer(attribute, torch.from_numpy(array.copy()))
            self.values[name] = attribute
        else:
            self.values[name] = array.tolist()

    def forward(self, x):
        env = {self.input: x}

        def get(name):
            if not name:
                return None
            if name in env:
                return env[name]
            value = self.values[name]
            return getattr(self, value) if isinstance(value, str) else value

        for op, inputs, output, attributes, alone in self.nodes:
            arguments = [get(name) for name in inputs]
            env[output] = getattr(self, "op_" + op)(attributes, alone, *arguments)
        return env[self.output]

    def op_Conv(self, a, alone, x, w, b=None):
        strides, dilations = a.get("strides", [1, 1]), a.get("dilations", [1, 1])
        pads, before = _split(_pads(a, x, w.shape[2:], strides, dilations))
        if before:
            x = F.pad(x, before)
        return F.conv2d(x, w, b, strides, pads, dilations, a.get("group", 1))

    def op_MaxPool(self, a, alone, x):
        kernel = a["kernel_shape"]
        strides = a.get("strides", [1, 1])
        pads, before = _split(_pads(a, x, kernel, strides, [1, 1]))
        if before:
            x = F.pad(x, before, value=float("-inf"))
        return F.max_pool2d(x, kernel, strides, pads, ceil_mode=bool(a.get("ceil_mode", 0)))

    def op_AveragePool(self, a, alone, x):
        kernel, strides = a["kernel_shape"], a.get("strides", [1, 1])
        pads, before = _split(_pads(a, x, kernel, strides, [1, 1]))
        if before:
            raise NotImplementedError("AveragePool with uneven pads")
        count = bool(a.get("count_include_pad", 0))
        return F.avg_pool2d(x, kernel, strides, pads, bool(a.get("ceil_mode", 0)), count)

    batch_statistics = False  # BN as in training: the batch's own, which the running ones follow.

    def op_BatchNormalization(self, a, alone, x, scale, shift, mean, variance):
        batch, epsilon = self.batch_statistics, a.get("epsilon", 1e-5)
        return F.batch_norm(x, mean, variance, scale, shift, batch, 0.1 if batch else 0.0, epsilon)

    def op_LayerNormalization(self, a, alone, x, scale, shift=None):
        return F.layer_norm(x, x.shape[-1:], scale, shift, a.get("epsilon", 1e-5))

    def op_Transpose(self, a, alone, x):
        return x.permute(a["perm"])

    def op_Div(self, a, alone, x, y):
        return x / y

    def op_Erf(self, a, alone, x):
        return torch.erf(x)

    def op_Clip(self, a, alone, x, low=None, high=None):
        low = float(a.get("min", -np.inf) if low is None else low)
        high = float(a.get("max", np.inf) if high is None else high)
        return F.hardtanh(x, low, high, inplace=alone)

    def op_Relu(self, a, alone, x):
        return F.relu(x, inplace=alone)

    def op_LeakyRelu(self, a, alone, x):
        return F.leaky_relu(x, a.get("alpha", 0.01), inplace=alone)

    def op_Sigmoid(self, a, alone, x):
        return torch.sigmoid(x)

    def op_Add(self, a, alone, x, y):
        return x + y

    def op_Mul(self, a, alone, x, y):
        return x * y

    def op_Concat(self, a, alone, *xs):
        return torch.cat(xs, a["axis"])

    def op_GlobalAveragePool(self, a, alone, x):
        return x.mean((2, 3), keepdim=True)

    def op_ReduceMean(self, a, alone, x, axes=None):
        axes = [int(i) for i in (a["axes"] if axes is None else axes)]
        return x.mean(axes, keepdim=bool(a.get("keepdims", 1)))

    def op_Flatten(self, a, alone, x):
        return x.flatten(a.get("axis", 1))

    def op_Reshape(self, a, alone, x, shape):
        return x.reshape([x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape)])

    def op_Dropout(self, a, alone, x, *_):
        return x

    def op_Identity(self, a, alone, x):
        return x

    def op_Gemm(self, a, alone, x, w, b=None):
        if a.get("transA", 0) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
            raise NotImplementedError("Gemm with transA, alpha or beta")
        return F.linear(x, w if a.get("transB", 0) else w.t(), b)

    def op_MatMul(self, a, alone, x, w):
        return x @ w

    def op_Softmax(self, a, alone, x):
        return F.softmax(x, a.get("axis", -1))

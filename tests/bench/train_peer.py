"""A few steps of training above a cut, here and in PyTorch, from the same weights and batches."""
import os
import subprocess
import tempfile
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as F

import onnx_torch


def as_vectors(f):
    return f.mean((2, 3)) if f.ndim == 4 else f.reshape(len(f), -1)


class Task:
    """Random pictures and labels, and a head, for one network."""

    def __init__(self, path, batch, n=None, classes=5, seed=0):
        self.path, self.batch, self.n, self.classes = path, batch, n or 2 * batch, classes
        self.model = onnx.load(path)
        self.features, _ = onnx_torch.cut_at_features(self.model)
        dims = [d.dim_value for d in self.model.graph.input[0].type.tensor_type.shape.dim]
        channels, height, width = dims[1], dims[2] or 224, dims[3] or 224
        random = np.random.default_rng(seed)
        self.pixels = random.integers(0, 256, (self.n, height, width, channels), dtype=np.uint8)
        self.labels = random.integers(0, classes, self.n).astype(np.int32)
        x = torch.from_numpy(self.pixels.astype(np.float32)).permute(0, 3, 1, 2) / 64 - 2
        self.x = x.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            self.d = as_vectors(onnx_torch.OnnxModule(self.features)(self.x[:2])).shape[1]
        self.w = (random.standard_normal((classes, self.d)) / np.sqrt(self.d)).astype(np.float32)
        self.b = np.zeros(classes, np.float32)

    def data(self):
        head = np.array([self.n, self.batch, self.classes, self.d], np.int32)
        return b"".join(a.tobytes() for a in (head, self.pixels, self.labels, self.w, self.b))

    def rows(self, step):
        return [(step * self.batch + i) % self.n for i in range(self.batch)]


class Result:
    def __init__(self, losses, seconds, norms=None, bytes=0, value=None):
        self.losses, self.seconds, self.norms, self.bytes = losses, seconds, norms, bytes
        self.value = value  # The tensor at the cut.


def run_ours(program, task, cut, norm="frozen", lane=8, threads=2, steps=30, lr=1e-3, momentum=0.9,
             decay=1e-4):
    with tempfile.TemporaryDirectory() as folder:
        data, out = os.path.join(folder, "data"), os.path.join(folder, "out")
        with open(data, "wb") as file:
            file.write(task.data())
        arguments = [program, task.path, cut, norm, lane, threads, steps, lr, momentum, decay, data, out]
        environment = dict(os.environ, OMP_WAIT_POLICY="passive")
        run = subprocess.run([str(a) for a in arguments], capture_output=True, text=True,
                             env=environment, check=False)
        if run.returncode:
            raise RuntimeError(run.stdout[-1000:] + run.stderr[-1000:])
        words = [line.split() for line in run.stdout.splitlines()]
        said = {w[0]: w[1] for w in words}
        with open(out) as file:
            norms = {name: float(value) for name, value in (line.split() for line in file)}
    losses = [float(w[1]) for w in words if w[0] == "loss"]
    return Result(losses, float(said["seconds"]), norms, int(said["bytes"]), said["value"])


def run_torch(task, trained, norm="frozen", threads=2, steps=30, lr=1e-3, momentum=0.9, decay=1e-4,
              below=None):
    """trained: the names of the tensors to train. below: a name; what makes it runs once before, and its
    values are the input of each step, as Thaw caches them."""
    torch.set_num_threads(threads)
    module = onnx_torch.OnnxModule(task.features)
    module.batch_statistics = norm == "full"
    x = task.x
    if below:
        x = cached(task, below)
        module.input = below
        made = [i for i, node in enumerate(module.nodes) if node[2] == below]
        module.nodes = module.nodes[made[0] + 1 :]
    weights = {n.input[1] for n in task.model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul")}
    groups, tensors = ([], []), {}
    for name in trained:
        attribute = module.values[name]
        value = torch.nn.Parameter(getattr(module, attribute).clone())
        delattr(module, attribute)
        setattr(module, attribute, value)
        tensors[name] = value
        groups[name not in weights].append(value)
    w = torch.nn.Parameter(torch.from_numpy(task.w.copy()))
    b = torch.nn.Parameter(torch.from_numpy(task.b.copy()))
    optimizer = torch.optim.SGD(
        [{"params": groups[0] + [w], "weight_decay": decay}, {"params": groups[1] + [b]}],
        lr=lr, momentum=momentum)
    losses, start = [], 0
    for step in range(steps):
        if step == 1:
            start = time.perf_counter()
        rows = task.rows(step)
        labels = torch.from_numpy(task.labels[rows]).long()
        loss = F.cross_entropy(F.linear(as_vectors(module(x[rows])), w, b), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return Result(losses, time.perf_counter() - start,
                  {name: value.norm().item() for name, value in tensors.items()})


def cached(task, name):
    """What the frozen part puts out, once."""
    model = onnx.ModelProto()
    model.CopyFrom(task.features)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    module = onnx_torch.OnnxModule(model)
    last = [i for i, node in enumerate(module.nodes) if node[2] == name][0]
    module.nodes = module.nodes[: last + 1]
    with torch.no_grad():
        parts = [module(task.x[i : i + 8]).clone() for i in range(0, task.n, 8)]
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)

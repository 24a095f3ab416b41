"""The benchmark of freeze depths beside the same depths trained from pixels by PyTorch.

usage: freeze.py THAW TRAIN_TOP MODEL DATA [--threads=2] [--batch=64] [-- OPTION...]

DATA holds train and test folders. `thaw bench freeze` runs first, with an empty cache and the options
behind --. Then PyTorch trains two epochs at each of its depths: pictures decoded by Pillow in as many
threads, one batch ahead, the frozen layers without gradients, channels_last. What all depths would take
it is extrapolated from the second of them: epochs of the head alone and of what lies above the cut, each at
its own time, times trainings; once more without those of the head where more is trained. It is said, not
measured. Processor seconds stand beside: a busy machine stretches them less.
"""
import argparse
import collections
import concurrent.futures
import glob
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import onnx_torch
import train_peer


def decode(path, side):
    """The shorter side to side / 0.875, its middle, bytes to -2 .. 2: which numbers makes no difference."""
    picture = Image.open(path).convert("RGB")
    short = round(side / 0.875)
    scale = short / min(picture.size)
    picture = picture.resize([round(n * scale) for n in picture.size], Image.BILINEAR)
    left, top = ((n - side) // 2 for n in picture.size)
    return np.asarray(picture.crop((left, top, left + side, top + side)), np.float32) / 64 - 2


Seconds = collections.namedtuple("Seconds", "wall processor")


def epoch_in_torch(task, files, labels, names, a, n_epochs=2):
    """Seconds of the last of n_epochs epochs from pixels: the tensors in names and a head are trained."""
    module = onnx_torch.OnnxModule(task.features)
    for name in names:
        attribute = module.values[name]
        value = torch.nn.Parameter(getattr(module, attribute).clone())
        delattr(module, attribute)
        setattr(module, attribute, value)
    head = torch.nn.Linear(task.d, int(max(labels)) + 1)
    trained = [p for p in module.parameters()] + [*head.parameters()]
    optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9)
    side = task.pixels.shape[1]
    with concurrent.futures.ThreadPoolExecutor(a.threads) as pool:
        for epoch in range(n_epochs):
            start, worked = time.perf_counter(), time.process_time()
            order = np.random.default_rng(epoch).permutation(len(files))
            batches = [order[i : i + a.batch] for i in range(0, len(order), a.batch)]
            ahead = collections.deque()
            for k in range(len(batches)):
                for rows in batches[k + len(ahead) : k + 2]:
                    ahead.append([pool.submit(decode, files[i], side) for i in rows])
                x = torch.from_numpy(np.stack([f.result() for f in ahead.popleft()]))
                x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
                loss = F.cross_entropy(head(train_peer.as_vectors(module(x))),
                                       torch.from_numpy(labels[batches[k]]))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return Seconds(time.perf_counter() - start, time.process_time() - worked)


def lines_of(path):
    if not os.path.exists(path):
        return 0
    with open(path) as file:
        return sum(1 for _ in file)


def main():
    parser = argparse.ArgumentParser()
    for name in ("thaw", "train_top", "model", "data"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=2), parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("options", nargs="*")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "freeze")
        words = [a.thaw, "bench", "freeze", f"--model={a.model}", f"--data.train={a.data}", f"--out={out}",
                 f"--cache.dir={folder}/cache", f"--threads={a.threads}", *a.options]
        start = time.perf_counter()
        subprocess.run(words, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        ours = Seconds(time.perf_counter() - start, used.ru_utime + used.ru_stime)
        with open(os.path.join(out, "freeze.json")) as file:
            depths = json.load(file)["depths"]
        task = train_peer.Task(a.model, a.batch)
        classes = sorted(os.listdir(os.path.join(a.data, "train")))
        files = [p for c in classes for p in sorted(glob.glob(os.path.join(a.data, "train", c, "*")))]
        labels = np.array([classes.index(os.path.basename(os.path.dirname(p))) for p in files])
        head = epoch_in_torch(task, files, labels, [], a)
        theirs, without_head = Seconds(0, 0), Seconds(0, 0)
        for depth in depths:
            runs, names = os.path.join(out, "runs"), []
            if depth["cut"] != "last":
                steps = train_peer.run_ours(a.train_top, train_peer.Task(a.model, 8), str(depth["index"]),
                                            steps=1, threads=a.threads)
                names = [n for n in steps.norms if not n.startswith("head.")]
            run = sorted(glob.glob(f"{runs}/{'scratch' if depth['scratch'] else 'cut%d' % depth['index']}-*"))[0]
            own, before = lines_of(run + "/epochs.jsonl"), lines_of(run + "/head_epochs.jsonl")
            seconds = epoch_in_torch(task, files, labels, names, a) if names else head
            trainings = len(depth["runs"])
            alone = [own * s * trainings for s in seconds]
            whole = [(own * s + before * h) * trainings for s, h in zip(seconds, head)]
            theirs = Seconds(*(t + w for t, w in zip(theirs, whole)))
            without_head = Seconds(*(t + w for t, w in zip(without_head, alone)))
            print(f"{depth['cut']:14} Thaw trains {depth['seconds']['train']:7.1f} s; PyTorch an epoch "
                  f"{seconds.wall:6.1f} s, {before} epochs of the head and {own}, {trainings} "
                  f"trainings: {whole[0]:8.0f} s, extrapolated", flush=True)
        for which in Seconds._fields:
            t, w, o = (getattr(x, which) for x in (theirs, without_head, ours))
            print(f"{which} seconds of all: Thaw {o:.0f} measured, PyTorch {t:.0f} extrapolated: {t / o:.1f}; "
                  f"if it trained no head before the rest, {w:.0f}: {w / o:.1f}")


if __name__ == "__main__":
    main()

"""Training above a cut beside PyTorch: the same layers, weights, batches and threads, in the same run.

usage: training.py TRAIN_TOP THAW MOBILENET [--threads=2] [--batch=32] [--steps=6] [--repeats=3]

MOBILENET: a MobileNetV2 file. ResNet-18 is written by THAW. PyTorch starts from cached features as we
do, channels_last; runs alternate; medians and their spread are printed, and each side's peak memory.
"""
import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def torch_child(arguments):
    """One measurement in a process of its own: its peak memory is its own, too."""
    import train_peer

    path, names, below, batch, threads, steps = json.loads(arguments)
    task = train_peer.Task(path, batch, n=batch)
    result = train_peer.run_torch(task, names, "frozen", threads, steps, below=below)
    print(json.dumps([result.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def median(values):
    return statistics.median(values), min(values), max(values)


def main():
    if sys.argv[1] == "--child":
        torch_child(sys.argv[2])
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("program"), parser.add_argument("thaw"), parser.add_argument("mobilenet")
    for name, value in (("threads", 2), ("batch", 32), ("steps", 6), ("repeats", 3)):
        parser.add_argument("--" + name, type=int, default=value)
    a = parser.parse_args()
    import torch
    import train_peer

    print(f"{platform.processor() or platform.machine()}, {a.threads} threads, batch {a.batch}, "
          f"PyTorch {torch.__version__}, medians of {a.repeats} (least to most)")
    with tempfile.TemporaryDirectory() as folder:
        resnet = os.path.join(folder, "resnet18.onnx")
        subprocess.run([a.thaw, "new", "--arch=resnet18", "-o", resnet], check=True,
                       capture_output=True)
        for path, cuts in ((a.mobilenet, ["stage5.2", "stage4", "stage3", "none"]),
                           (resnet, ["stage4", "stage3", "none"])):
            task = train_peer.Task(path, a.batch, n=a.batch)
            for cut in cuts:
                measure(a, task, cut)


def measure(a, task, cut):
    import train_peer

    lane = max(1, -(-a.batch // 8))
    ours, theirs, peaks, bytes_ = [], [], [], 0
    for _ in range(a.repeats):
        result = train_peer.run_ours(a.program, task, cut, "frozen", lane, a.threads, a.steps)
        ours.append(a.batch * (a.steps - 1) / result.seconds)
        bytes_ = result.bytes
        names = [n for n in result.norms if not n.startswith("head.")]
        below = None if cut == "none" else result.value
        given = json.dumps([task.path, names, below, a.batch, a.threads, a.steps])
        child = subprocess.run([sys.executable, __file__, "--child", given], check=True,
                               capture_output=True, text=True)
        seconds, peak = json.loads(child.stdout.splitlines()[-1])
        theirs.append(a.batch * (a.steps - 1) / seconds)
        peaks.append(peak)
    us, them = median(ours), median(theirs)
    print(f"{os.path.basename(task.path):18} above {cut:9}  Thaw {us[0]:7.1f} images/s "
          f"({us[1]:.1f} to {us[2]:.1f}), PyTorch {them[0]:7.1f} ({them[1]:.1f} to {them[2]:.1f}): "
          f"{us[0] / them[0]:.2f}; memory of a step {bytes_ / 2**20:.0f} MiB, PyTorch's process "
          f"{max(peaks) / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()

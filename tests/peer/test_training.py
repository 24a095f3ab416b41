"""Thirty steps of training above a cut beside PyTorch, from the same weights and batches: the loss of
each step must be the same within a thousandth, and so must the tensors' lengths at the end.

usage: test_training.py TRAIN_TOP THAW [NETWORK/CUT/BN]
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "bench"))
try:
    import torch  # noqa: F401
except ImportError:
    print("SKIPPED: this Python has no PyTorch, which takes gigabytes; THAW_PYTHON names one that has")
    sys.exit(77)
import train_peer

SIZE, BATCH, STEPS, TOLERANCE = 64, 16, 30, 1e-3
# Rates, by BN, at which a random network does not magnify the last bit within thirty steps.
NETWORKS = {
    "resnet18": (["none", "stage2", "stage4"], {"frozen": 1e-5, "affine": 1e-5, "full": 1e-6}),
    "mobilenet_v2": (["none", "stage2", "stage4"], {"frozen": 1e-3, "affine": 1e-3, "full": 3e-7}),
    "convnext_tiny": (["none", "stage3"], {"frozen": 1e-4}),
}


def compare(program, task, cut, norm, lr):
    # A batch's own statistics are the lane's: one lane then, as PyTorch has one batch.
    lane = BATCH if norm == "full" else 4
    ours = train_peer.run_ours(program, task, cut, norm, lane, 2, STEPS, lr)
    names = [name for name in ours.norms if not name.startswith("head.")]
    # What is frozen keeps its running statistics.
    below = ours.value if norm == "full" and cut != "none" else None
    theirs = train_peer.run_torch(task, names, norm, 2, STEPS, lr, below=below)
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours.losses, theirs.losses))
    lengths = max(abs(ours.norms[n] - theirs.norms[n]) / max(theirs.norms[n], 1e-3) for n in names)
    moved = abs(theirs.losses[-1] - theirs.losses[0])
    good = worst <= TOLERANCE and lengths <= TOLERANCE and len(ours.losses) == STEPS and moved > 0
    print(f"{'ok   ' if good else 'WRONG'} {os.path.basename(task.path):20} above {cut:7} BN {norm:7}"
          f" {len(names):3} tensors: loss {theirs.losses[0]:.4f} -> {theirs.losses[-1]:.4f},"
          f" differs by {worst:.1e}, lengths by {lengths:.1e}")
    return good


def main():
    program, thaw = sys.argv[1:3]
    only = sys.argv[3] if len(sys.argv) > 3 else None
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name, (cuts, norms) in NETWORKS.items():
            path = os.path.join(folder, name + ".onnx")
            subprocess.run([thaw, "new", "--arch=" + name, f"--size={SIZE}", "-o", path],
                           check=True, capture_output=True)
            task = train_peer.Task(path, BATCH)
            for cut in cuts:
                for norm, lr in norms.items():
                    # What an untrained MobileNet's frozen stages let through is next to nothing, which a
                    # batch's own statistics blow up: nobody's last bit survives that.
                    if norm == "full" and name == "mobilenet_v2" and cut == "stage4":
                        continue
                    if only and only != f"{name}/{cut}/{norm}":
                        continue
                    good &= compare(program, task, cut, norm, lr)
    sys.exit(not good)


if __name__ == "__main__":
    main()

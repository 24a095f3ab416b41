#!/usr/bin/env python3
"""PyTorch on a GPU beside Thaw, for tests/gpu.sh: the same weights, the same pictures.

Usage: gpu_peers.py resnet50 OUT.onnx             draws a ResNet-50 with torchvision
       gpu_peers.py trunk|top|head|job --work=FOLDER --part=NAME [--seconds=N] [--model="NAME PATH"]...

trunk: pictures as u8 in, features out, channels_last and autocast to half precision; eager and
torch.compile(mode="max-autotune"). Two measures: with pictures and features in the host's pinned
memory, as Thaw's own figure has them, and with both on the device.
top:   a step of training above a cut, from features at the cut that lie on the device, AdamW: as a
PyTorch user would (fused AdamW, channels_last, autocast to half precision, compiled with CUDA graphs),
not compiled, and in float.
head:  100,000 x 2048 features of half precision on the device, 102 classes, batches of 256, AdamW.
job:   a folder of pictures to a head trained for 30 epochs, decoding in as many workers as there
are cores, with the frozen trunk run in every epoch, and with its features kept.

Adds each result to FOLDER/NAME.jsonl and .rows as it comes, so that a limit of time costs only what
is missing then. What Thaw measured lies in FOLDER.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["resnet50", "trunk", "top", "head", "job"])
    parser.add_argument("out", nargs="?", help="resnet50: where to write it")
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--part")
    parser.add_argument("--model", action="append", default=[], help="'NAME PATH'")
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=120)
    args = parser.parse_args()
    args.models = [m.split(" ", 1) for m in args.model]
    args.end = time.monotonic() + args.seconds
    return args


def keep(args, record, row=None):
    """record: a dictionary; row: what, Thaw, peer, goal, met."""
    with open(args.work / f"{args.part}.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")
    if row:
        with open(args.work / f"{args.part}.rows", "a") as file:
            file.write("| " + " | ".join(row) + " |\n")


def time_left(args):
    return args.end - time.monotonic()


def median_ms(torch, step, repeats=9, least_ms=20):
    """Median of samples, each long enough to be measured by the device's events."""
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    n = max(1, int(least_ms / max((time.perf_counter() - start) * 1e3, 1e-3)))
    samples = []
    for _ in range(repeats):
        begin = torch.cuda.Event(enable_timing=True)
        end = torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(n):
            step()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) / n)
    return statistics.median(samples)


# ---- the trunk ---------------------------------------------------------------------------------


def draw_resnet50(out):
    import torch
    import torchvision

    torch.manual_seed(1)
    model = torchvision.models.resnet50(weights=None).eval()
    torch.onnx.export(
        model,
        torch.zeros(1, 3, 224, 224),
        out,
        opset_version=17,
        dynamo=False,
        input_names=["input"],
        dynamic_axes={"input": {0: "N"}},
    )


def load_trunk(torch, path, mean=128.0, std=128.0):
    """u8 [N,H,W,3] on the device to float features [N,D], as a module."""
    import onnx
    from onnx_torch import OnnxModule, cut_at_features

    class Trunk(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = OnnxModule(cut_at_features(onnx.load(path))[0])

        def forward(self, pixels):
            x = pixels.permute(0, 3, 1, 2).float().sub(mean).div(std)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cuda", dtype=torch.float16):
                y = self.net(x)
            return (y.mean((2, 3)) if y.dim() == 4 else y.flatten(1)).float()

    trunk = Trunk().eval().cuda()
    for name, weight in trunk.net.named_buffers():
        if weight.dim() == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return trunk


def time_trunk(torch, run, batch):
    """(milliseconds with copies from and to pinned memory, milliseconds on the device alone)."""
    host = torch.randint(0, 256, (batch, 224, 224, 3), dtype=torch.uint8).pin_memory()
    on_device = host.cuda()
    with torch.inference_mode():
        back = torch.empty_like(run(on_device), device="cpu").pin_memory()

        def with_copies():
            back.copy_(run(host.cuda(non_blocking=True)), non_blocking=True)
            torch.cuda.current_stream().synchronize()

        return median_ms(torch, with_copies), median_ms(torch, lambda: run(on_device))


def report_trunk(args, name, batch, how, times):
    with_copies, alone = times
    record = {"trunk": name, "batch": batch, "how": how}
    record |= {"ms_host_to_host": with_copies, "ms_on_device": alone}
    peer = f"{batch / with_copies * 1e3:.0f} pictures/s ({batch / alone * 1e3:.0f} on the device)"
    ours_file, ours, goal, met = args.work / f"ours-{name}-{batch}.json", "", "", ""
    if ours_file.exists() and ours_file.stat().st_size > 0:
        times = json.loads(ours_file.read_text())
        streamed = 1e3 / times["ms_per_image"]["median"]
        rate = 1e3 / times["compute_ms_per_image"]["median"]
        ratio = rate / (batch / alone * 1e3)
        record["ours_over_peer"] = ratio
        record["ours_over_peer_host_to_host"] = streamed / (batch / with_copies * 1e3)
        ours = f"{streamed:.0f} pictures/s ({rate:.0f} on the device, {ratio:.2f} times)"
        wanted = {256: 1.0, 1: 1.5}.get(batch) if how == "compiled" else None
        if wanted:
            goal, met = f">= {wanted}", "yes" if ratio >= wanted else "**no**"
    keep(args, record, (f"trunk {name}, batch {batch}, beside PyTorch {how}", ours, peer, goal, met))


def part_trunk(args):
    import torch

    torch.backends.cudnn.benchmark = True
    trunks = {}
    for name, path in args.models:
        try:
            trunks[name] = load_trunk(torch, path)
        except Exception as error:
            keep(args, {"trunk": name, "error": f"{type(error).__name__}: {error}"})
    # Compiling is slow: what the goals speak of comes first.
    for how, batches in (("eager", (256, 1, 32, 8)), ("compiled", (256, 1, 32, 8))):
        for batch in batches:
            for name, trunk in trunks.items():
                if time_left(args) < (5 if how == "eager" else 15):
                    keep(args, {"trunk": name, "batch": batch, "how": how, "error": "no time left"})
                    continue
                try:
                    run = trunk
                    if how == "compiled":
                        torch._dynamo.reset()
                        run = torch.compile(trunk, mode="max-autotune", dynamic=False)
                    report_trunk(args, name, batch, how, time_trunk(torch, run, batch))
                except Exception as error:
                    words = f"{type(error).__name__}: {str(error)[:300]}"
                    keep(args, {"trunk": name, "batch": batch, "how": how, "error": words})


# ---- above a cut -------------------------------------------------------------------------------


class Top:
    """A step of training what lies above a value of a network, and a new head."""

    def __init__(self, torch, path, value, batch, classes=12):
        import onnx
        import onnx_torch

        model = onnx.load(path)
        self.module = onnx_torch.OnnxModule(onnx_torch.cut_at_features(model)[0])
        nodes = self.module.nodes
        x = torch.rand(batch, 3, 224, 224)
        made = [i for i, node in enumerate(nodes) if node[2] == value]
        if made:
            below = onnx_torch.OnnxModule(onnx_torch.cut_at_features(model)[0])
            below.nodes, below.output = below.nodes[: made[0] + 1], value
            with torch.no_grad():
                x = below.cuda()(x[:2].cuda()).repeat(batch // 2, 1, 1, 1)
            above = nodes[made[0] + 1 :]
            self.module.input = value
            # The features are needed again: nothing is computed in their place.
            self.module.nodes = [(*n[:4], n[4] and n[1][0] != value) for n in above]
        self.x = x.cuda().contiguous(memory_format=torch.channels_last)
        self.module.cuda()
        used = {name for node in self.module.nodes for name in node[1]}
        frozen = {n for node in self.module.nodes if node[0] == "BatchNormalization" for n in node[1][3:]}
        weights = []
        for name in sorted(used - frozen):
            attribute = self.module.values.get(name)
            if not isinstance(attribute, str):
                continue
            w = getattr(self.module, attribute).clone()
            if w.dim() == 4:
                w = w.contiguous(memory_format=torch.channels_last)
            delattr(self.module, attribute)
            weights.append(torch.nn.Parameter(w))
            setattr(self.module, attribute, weights[-1])
        with torch.no_grad():
            width = self.features(self.x[:2]).shape[1]
        self.head = torch.nn.Linear(width, classes).cuda()
        self.labels = torch.arange(batch, device="cuda") % classes
        weights += list(self.head.parameters())
        self.steps = torch.optim.AdamW(weights, lr=1e-6, fused=True)
        self.numbers = sum(w.numel() for w in weights)

    def features(self, x):
        y = self.module(x)
        return y.mean((2, 3)) if y.dim() == 4 else y.flatten(1)

    def loss(self, torch, x, half):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
            scores = self.head(self.features(x))
        return torch.nn.functional.cross_entropy(scores.float(), self.labels)

    def stepper(self, torch, half, compiled):
        def forward(x):
            return self.loss(torch, x, half)

        forward = torch.compile(forward, mode="reduce-overhead", dynamic=False) if compiled else forward

        def step():
            self.steps.zero_grad(set_to_none=True)
            forward(self.x).backward()
            self.steps.step()

        return step


def part_top(args):
    import torch

    torch.backends.cudnn.benchmark = True
    paths = dict(args.models)
    cases = []
    for file in args.work.glob("top-*.json"):
        ours = json.loads(file.read_text())
        name = next(n for n in paths if file.name.startswith(f"top-{n}-"))
        cases.append((name, ours))
    # What the goals speak of first, since a limit of time may cost what comes last.
    cases.sort(key=lambda c: (c[0] != "resnet50", -c[1]["batch"], c[1]["numbers"]))
    # An old GPU has no bf16: then autocast is beside our tf32, which is float there.
    halves = "bf16" if any(ours["precision"] == "bf16" for _, ours in cases) else "tf32"
    ways = (
        ("compiled, half", True, True, halves),
        ("half", True, False, halves),
        ("float", False, False, "tf32"),
    )
    for how, half, compiled, precision in ways:
        for name, ours in cases:
            if ours["precision"] != precision:
                continue
            record = {"top": name, "cut": ours["cut"], "batch": ours["batch"], "precision": precision, "how": how}
            if time_left(args) < (20 if compiled else 5):
                keep(args, record | {"error": "no time left"})
                continue
            try:
                torch._dynamo.reset()
                top = Top(torch, paths[name], ours["value"], ours["batch"])
                if abs(top.numbers - ours["numbers"]) > 0.01 * ours["numbers"]:
                    raise ValueError(f"{top.numbers} numbers are trained, not {ours['numbers']}")
                ms = median_ms(torch, top.stepper(torch, half, compiled), repeats=5)
                ratio = ms / ours["step_ms"]["median"]
                record |= {"ms": ms, "ours_over_peer": ratio}
                goal = (">= 1.0", "yes" if ratio >= 1 else "**no**") if compiled else ("", "")
                what = f"a step above {name}'s {ours['cut']}, batch {ours['batch']}, {precision}, beside PyTorch, {how}"
                keep(args, record, (what, f"{ratio:.2f} times", f"{ms:.2f} ms", *goal))
            except Exception as error:
                keep(args, record | {"error": f"{type(error).__name__}: {str(error)[:300]}"})


# ---- the head ----------------------------------------------------------------------------------


def train_steps(torch, features, labels, order, batch, head, steps, step):
    for rows in order.split(batch):
        steps.zero_grad(set_to_none=True)
        step(head, features[rows], labels[rows]).backward()
        steps.step()


def part_head(args, rows=100_000, width=2048, classes=102, batch=256):
    import torch

    torch.manual_seed(1)
    features = torch.rand(rows, width, device="cuda", dtype=torch.float16)
    labels = torch.arange(rows, device="cuda") % classes

    def loss_of(head, x, y):
        return torch.nn.functional.cross_entropy(head(x.float()), y)

    ours_file, ours_us = args.work / "head.json", None
    n_steps = -(-rows // batch)
    if ours_file.exists():
        ours = json.loads(ours_file.read_text())
        ours_us = ours["epoch_median_s"] / n_steps * 1e6  # Without the rows' way to the device.
        goal = ("head, microseconds a step", f"{ours_us:.1f}", "", "<= 15")
        keep(args, {"head": "thaw", "us_a_step": ours_us}, (*goal, "yes" if ours_us <= 15 else "**no**"))
    for how, wanted in (("eager", 10), ("compiled", 2)):
        if time_left(args) < 8:
            keep(args, {"head": how, "error": "no time left"})
            continue
        try:
            head = torch.nn.Linear(width, classes).cuda()
            more = {"fused": True} if how == "compiled" else {}
            steps = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-3, **more)
            step = loss_of if how == "eager" else torch.compile(loss_of, dynamic=False)

            def epoch():
                # Whole batches only, so that nothing is compiled twice.
                order = torch.randperm(rows, device="cuda")[: rows // batch * batch]
                train_steps(torch, features, labels, order, batch, head, steps, step)
                torch.cuda.synchronize()

            epoch()
            seconds = []
            while len(seconds) < 5 and (not seconds or time_left(args) > 2 * seconds[0]):
                start = time.perf_counter()
                epoch()
                seconds.append(time.perf_counter() - start)
            us = statistics.median(seconds) / (rows // batch) * 1e6
            record, ours, met = {"head": how, "us_a_step": us}, "", ""
            if ours_us:
                record["ours_over_peer"] = us / ours_us
                ours, met = f"{us / ours_us:.1f} times", "yes" if us / ours_us >= wanted else "**no**"
            what = f"head, 100,000 x 2048 fp16, 102 classes, AdamW, beside PyTorch {how}"
            keep(args, record, (what, ours, f"{us:.1f} us a step", f">= {wanted} times", met))
        except Exception as error:
            keep(args, {"head": how, "error": f"{type(error).__name__}: {str(error)[:300]}"})


# ---- the whole job -----------------------------------------------------------------------------


class Pictures:
    """As a data set for PyTorch's loader: u8 [224,224,3] and the class's number."""

    def __init__(self, folder):
        classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
        self.files = [(p, classes.index(p.parent.name)) for p in sorted(folder.glob("*/*.jpg"))]
        self.n_classes = len(classes)

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        import numpy as np
        import torch
        from PIL import Image

        path, label = self.files[i]
        picture = Image.open(path).convert("RGB")
        shorter = 256 / min(picture.size)
        size = [max(224, round(side * shorter)) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - 224) // 2, (size[1] - 224) // 2
        picture = picture.crop((left, top, left + 224, top + 224))
        return torch.from_numpy(np.array(picture)), label


def one_job(torch, args, trunk, kept, epochs=30):
    """(seconds, epochs that were made) from the folder to the trained head."""
    start = time.perf_counter()
    data = Pictures(args.pictures / "train")
    workers = max(1, min(len(os.sched_getaffinity(0)), 16))
    loader = torch.utils.data.DataLoader(
        data, 64, shuffle=not kept, num_workers=workers, pin_memory=True, persistent_workers=True
    )
    head, steps = None, None

    def features_of(pixels):
        with torch.inference_mode():
            return trunk(pixels.cuda(non_blocking=True))

    def train(x, y):
        nonlocal head, steps
        if head is None:
            head = torch.nn.Linear(x.shape[1], data.n_classes).cuda()
            steps = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=1e-3)
        steps.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(head(x), y).backward()
        steps.step()

    made = 0
    if kept:
        xs, ys = zip(*((features_of(p), y.cuda(non_blocking=True)) for p, y in loader))
        x, y = torch.cat(xs), torch.cat(ys)
        for made in range(1, epochs + 1):
            for rows in torch.randperm(len(x), device="cuda").split(64):
                train(x[rows].clone(), y[rows])
    else:
        while made < epochs and (made == 0 or time_left(args) > 15):
            for pixels, y in loader:
                train(features_of(pixels).clone(), y.cuda(non_blocking=True))
            made += 1
    torch.cuda.synchronize()
    return time.perf_counter() - start, made


def part_job(args):
    import torch

    torch.backends.cudnn.benchmark = True
    trunk = load_trunk(torch, args.models[0][1])
    with torch.inference_mode():
        trunk(torch.zeros(64, 224, 224, 3, dtype=torch.uint8, device="cuda"))  # Not counted.
    ours_file = args.work / "job-first.seconds"
    for kept, wanted in ((True, 2), (False, 20)):
        try:
            seconds, made = one_job(torch, args, trunk, kept)
        except Exception as error:
            keep(args, {"job": f"torch, kept: {kept}", "error": f"{type(error).__name__}: {error}"})
            continue
        whole = seconds * 30 / made
        how = "features kept" if kept else "no features kept"
        record = {"job": f"torch, {how}", "seconds": whole, "epochs_made": made}
        ours, met = "", ""
        if ours_file.exists():
            ratio = whole / float(ours_file.read_text())
            record["ours_over_peer"] = ratio
            ours, met = f"{ratio:.1f} times", "yes" if ratio >= wanted else "**no**"
        note = "" if made == 30 else f" (from {made} epochs)"
        what = f"folder to trained head, 30 epochs, empty cache, beside PyTorch, {how}"
        keep(args, record, (what, ours, f"{whole:.1f} s{note}", f">= {wanted} times", met))


def main():
    args = parse_arguments()
    if args.what == "resnet50":
        draw_resnet50(args.out)
    else:
        {"trunk": part_trunk, "top": part_top, "head": part_head, "job": part_job}[args.what](args)


if __name__ == "__main__":
    main()

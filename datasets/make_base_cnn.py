#!/usr/bin/env python3
"""Trains the small CNN of the built-in story, flower or not, and writes it as ONNX.

Usage: make_base_cnn.py --draw build/thaw-draw --out datasets/flower_or_not.onnx

The pictures come from thaw-draw: the base species and the things that are no flower, never the
demo's eight species. While it trains, a second head names the kind of each picture (cosmos, iris,
house, ...). A network that only ever answers yes or no keeps little of what it sees; the second
head makes its features worth reusing. It is not in the file: what is left tells flowers from the
rest, like the network that a research group would bring along.

Needs torch, onnx, numpy and pillow.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import numpy as np
import onnx
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

LABELS = ["flower", "no_flower"]
SIDE = 96  # what the network sees
STORED_SIDE = 112  # what augmentation crops from
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Block(nn.Module):
    """Two 3x3 convolutions and a way around them (He et al. 2015, figure 2)."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.around = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.around = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.around(x))


class FlowerOrNot(nn.Module):
    """Stem, four stages, average over the picture, two scores. Shapes for one 96 x 96 picture."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)  # 16 x 48 x 48
        self.bn = nn.BatchNorm2d(16)
        self.stage1 = Block(16, 16, 1)  # 16 x 48 x 48
        self.stage2 = Block(16, 32, 2)  # 32 x 24 x 24
        self.stage3 = Block(32, 64, 2)  # 64 x 12 x 12
        self.stage4 = Block(64, 96, 2)  # 96 x 6 x 6
        self.head = nn.Linear(96, len(LABELS))

    def features(self, x):
        x = functional.relu(self.bn(self.stem(x)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)

    def forward(self, x):
        return self.head(self.features(x))


def load(folder, side):
    """All pictures of FOLDER/CLASS/KIND-NNNN.jpg as bytes N x 3 x side x side, centre-cropped."""
    pictures, labels, kinds = [], [], []
    for label, name in enumerate(LABELS):
        for path in sorted(pathlib.Path(folder, name).glob("*.jpg")):
            picture = Image.open(path).convert("RGB")
            short = min(picture.size)
            left, top = (picture.width - short) // 2, (picture.height - short) // 2
            box = (left, top, left + short, top + short)
            picture = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
            pictures.append(np.asarray(picture).transpose(2, 0, 1))
            labels.append(label)
            kinds.append(path.name.rsplit("-", 1)[0])
    return torch.from_numpy(np.stack(pictures)), torch.tensor(labels), kinds


def normalised(pictures):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (pictures.float() / 255 - mean) / std


def augmented(pictures, generator):
    """Random crops, sizes, slight turns, mirror images, brightness and tints; N x 3 x SIDE x SIDE."""
    n = len(pictures)

    def uniform(low, high, *shape):
        return torch.rand(n, *shape, generator=generator) * (high - low) + low

    turn, scale = uniform(-0.26, 0.26), uniform(0.6, 1.05)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn) * scale, torch.sin(turn) * scale
    room = (1.05 - scale).clamp(min=0)
    shift_x, shift_y = uniform(-1, 1) * room, uniform(-1, 1) * room
    rows = [cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y]
    theta = torch.stack(rows, 1).view(n, 2, 3)
    grid = functional.affine_grid(theta, (n, 3, SIDE, SIDE), align_corners=False)
    x = functional.grid_sample(
        pictures.float() / 255, grid, padding_mode="reflection", align_corners=False
    )
    gain = uniform(0.75, 1.3, 1, 1, 1) * uniform(0.93, 1.07, 3, 1, 1)
    grey = x.mean(1, keepdim=True)
    x = (grey + (x - grey) * uniform(0.6, 1.3, 1, 1, 1)) * gain
    return normalised(x.clamp(0, 1) * 255)


def train(model, kind_head, data, args):
    pictures, labels, kinds = data
    generator = torch.Generator().manual_seed(args.seed)
    weights = [*model.parameters(), *kind_head.parameters()]
    optimizer = torch.optim.SGD(weights, 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    batches = len(pictures) // args.batch
    total = batches * args.epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total, pct_start=0.2)
    started, step = time.time(), 0
    for epoch in range(args.epochs):
        model.train()
        order, seen = torch.randperm(len(pictures), generator=generator), 0.0
        for i in range(batches):
            rows = order[i * args.batch : (i + 1) * args.batch]
            x = augmented(pictures[rows], generator).to(memory_format=torch.channels_last)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.bf16):
                features = model.features(x)
            features = features.float()
            loss = functional.cross_entropy(model.head(features), labels[rows])
            kind_loss = functional.cross_entropy(
                kind_head(features), kinds[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            (loss + kind_loss).backward()
            optimizer.step()
            schedule.step()
            seen += kind_loss.item()
            step += 1
        minutes = (time.time() - started) / 60
        print(f"epoch {epoch + 1}: kind loss {seen / batches:.3f}, {minutes:.1f} min", flush=True)


@torch.no_grad()
def accuracy(model, kind_head, data):
    pictures, labels, kinds = data
    model.eval()
    right = kind_right = 0
    for i in range(0, len(pictures), 128):
        features = model.features(normalised(pictures[i : i + 128]))
        right += (model.head(features).argmax(1) == labels[i : i + 128]).sum().item()
        kind_right += (kind_head(features).argmax(1) == kinds[i : i + 128]).sum().item()
    return right / len(pictures), kind_right / len(pictures)


def unshare(graph):
    """Gives each batch normalisation weights of its own.

    The two that meet in an addition learn equal biases, and the exporter then stores one and reads
    it through an Identity. That saves a few hundred bytes and puzzles everyone who looks.
    """
    weights = {w.name: w for w in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Identity" and n.input[0] in weights]:
        copy = graph.initializer.add()
        copy.CopyFrom(weights[node.input[0]])
        copy.name = node.output[0]
        graph.node.remove(node)


def export(model, path, note):
    model.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, SIDE, SIDE),),
        path,
        input_names=["input"],
        output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
        # Batch normalisation stays as it was trained: folding it is the reader's business.
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    file = onnx.load(path)
    preprocess = {
        "width": SIDE,
        "height": SIDE,
        "fit": "crop",
        "shorter": SIDE,
        "filter": "bilinear",
        "order": "rgb",
        "scale": 1 / 255,
        "mean": MEAN,
        "std": STD,
    }
    file.producer_name = "make_base_cnn.py"
    file.doc_string = note
    unshare(file.graph)
    # The exporter notes the place of every operation in this file, folder names and all.
    for node in file.graph.node:
        node.doc_string = ""
    onnx.helper.set_model_props(
        file, {"thaw.preprocess": json.dumps(preprocess), "thaw.labels": json.dumps(LABELS)}
    )
    onnx.checker.check_model(file)
    onnx.save(file, path)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draw", required=True, help="the program thaw-draw")
    parser.add_argument("--out", default="flower_or_not.onnx")
    parser.add_argument("--pictures", type=int, default=3600, help="in each of the two classes")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--bf16", action="store_true", help="faster where the CPU knows bfloat16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.1, help="highest learning rate")
    parser.add_argument("--threads", type=int, help="for torch; fewer may be faster on a busy machine")
    parser.add_argument("--seed", type=int, default=20)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    with tempfile.TemporaryDirectory() as folder:
        # The demo draws with other seeds, and other species.
        sizes = [str(args.pictures), str(args.pictures // 10), "128", str(1000 + args.seed)]
        subprocess.run([args.draw, "base2", folder, *sizes], check=True)
        learn, test = load(f"{folder}/train", STORED_SIDE), load(f"{folder}/test", SIDE)
    names = sorted(set(learn[2]))
    learn = (*learn[:2], torch.tensor([names.index(k) for k in learn[2]]))
    test = (*test[:2], torch.tensor([names.index(k) for k in test[2]]))

    model = FlowerOrNot().to(memory_format=torch.channels_last)
    kind_head = nn.Linear(model.head.in_features, len(names))
    n_weights = sum(p.numel() for p in model.parameters())
    print(f"{len(learn[0])} pictures of {len(names)} kinds, {n_weights} weights", flush=True)
    train(model, kind_head, learn, args)
    answer, kind = accuracy(model, kind_head, test)
    print(f"validation: flower or not {answer:.2%}, kind {kind:.2%}, of {len(test[0])} pictures")
    export(model, args.out, f"flower or not, validation accuracy {answer:.4f}")
    print(f"{args.out}: {pathlib.Path(args.out).stat().st_size} bytes")


if __name__ == "__main__":
    main()

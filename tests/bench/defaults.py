#!/usr/bin/env python3
"""Which epoch a run should keep, and how long it should train: the numbers behind the defaults in
engine/top/trainer.c.

Usage: defaults.py [--build DIR] MODEL.onnx OXFORD12 FLOWERS5 [-- SETTING...]

OXFORD12 holds train/CLASS/*.jpg and test/CLASS/*.jpg, FLOWERS5 holds CLASS/*.jpg. SETTING: options of
thaw train with commas between ("--epochs=15"); without any: the defaults, and some others.

Data: the demo's drawn flowers, flowers5 in five folds, Oxford-12 with ten pictures a class, and all of
it; each with seeds 1 to 5, which also choose another tenth that is held out. Every training runs twice
with the same pictures and so to the same bits, once with the held-out tenth as validation and once with
the test folder: so it is known of each epoch what a rule would see and what keeping it would be worth.
Prints top-1 and loss on the test folders, means over the seeds, a row for each setting and rule.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = {"set": "demo8", "train": 60, "test": 30, "side": 160, "seed": 2026}
SETTINGS = ["", "--epochs=15", "--epochs=60", "--epochs=100", "--head.optimizer=adamw"]
SETTINGS += ["--head.solver=lbfgs", "--views=10"]
SEEDS = range(1, 6)


def by_patience(epochs, patience):
    best = 0
    for i, epoch in enumerate(epochs):
        best = i if epoch["loss"] < epochs[best]["loss"] else best
        if i - best >= patience:
            break
    return best


# What is kept, an index, of the validation's figures for each epoch.
RULES = {
    "last": lambda e: len(e) - 1,
    "lowest loss": lambda e: min(range(len(e)), key=lambda i: e[i]["loss"]),
    "first best top-1": lambda e: max(range(len(e)), key=lambda i: (e[i]["top1"], -i)),
    "last best top-1": lambda e: max(range(len(e)), key=lambda i: (e[i]["top1"], i)),
    "best top-1, then loss": lambda e: max(range(len(e)), key=lambda i: (e[i]["top1"], -e[i]["loss"])),
    "patience 3": lambda e: by_patience(e, 3),
    "patience 10": lambda e: by_patience(e, 10),
}


def pictures(folder):
    """Class to its pictures, in order."""
    classes = sorted(p for p in pathlib.Path(folder).iterdir() if p.is_dir())
    return {c.name: sorted(c.iterdir()) for c in classes}


def folds(classes):
    """(training, test) five times."""
    classes = {name: random.Random(99).sample(files, len(files)) for name, files in classes.items()}
    for k in range(5):
        train = {name: [f for i, f in enumerate(files) if i % 5 != k] for name, files in classes.items()}
        yield train, {name: files[k::5] for name, files in classes.items()}


def lay_out(tree, train, test, seed, most=None):
    """Links pictures to tree/{train,validation,test}: a tenth of the training ones validates."""
    rng = random.Random(seed)
    for name, files in train.items():
        files = rng.sample(files, len(files))[:most]
        held_out = max(1, round(len(files) / 10))
        parts = {"validation": files[:held_out], "train": files[held_out:], "test": test[name]}
        for split, chosen in parts.items():
            (tree / split / name).mkdir(parents=True)
            for file in chosen:
                (tree / split / name / file.name).symlink_to(file.resolve())


def data_sets(args, place):
    """(name, seed, tree, model)"""
    drawn, demo_model = place / "drawn", ROOT / "datasets" / "flower_or_not.onnx"
    draw = [args.build / "thaw-draw", DEMO["set"], drawn, DEMO["train"], DEMO["test"]]
    subprocess.run([str(c) for c in [*draw, DEMO["side"], DEMO["seed"]]], check=True)
    oxford = [pictures(args.oxford / split) for split in ("train", "test")]
    for seed, (train, test) in zip(SEEDS, folds(pictures(args.flowers))):
        made = [
            ("drawn", demo_model, pictures(drawn / "train"), pictures(drawn / "test"), None),
            ("flowers5", args.model, train, test, None),
            ("Oxford-12, 10 a class", args.model, *oxford, 10),
            ("Oxford-12", args.model, *oxford, None),
        ]
        for name, model, training, tested, most in made:
            tree = place / f"{name}-{seed}".replace(" ", "")
            lay_out(tree, training, tested, seed, most)
            yield name, seed, tree, model


def train(args, place, tree, validation, model, seed, setting):
    """What epochs.jsonl says of the validation, epoch by epoch; the training's own figures, too."""
    flags = {"model": model, "data.train": tree / "train", "data.validation": tree / validation}
    flags |= {"seed": seed, "out": place / "run", "cache.dir": place / "cache", "log": "error"}
    command = [args.build / "thaw", "train", *(f"--{k}={v}" for k, v in flags.items())]
    command += [f for f in setting.split(",") if f]
    subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in open(place / "run" / "epochs.jsonl")]
    figures = [{"loss": e["validation_loss"], "top1": e["validation_top1"]} for e in lines]
    return figures, [e["train_loss"] for e in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("oxford", type=pathlib.Path)
    parser.add_argument("flowers", type=pathlib.Path)
    parser.add_argument("setting", nargs="*", default=SETTINGS)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    args = parser.parse_args()
    kept = {}
    with tempfile.TemporaryDirectory(prefix="thaw-defaults-") as temporary:
        place = pathlib.Path(temporary)
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        for name, seed, tree, model in data_sets(args, place):
            for setting in args.setting:
                seen, same = train(args, place, tree, "validation", model, seed, setting)
                worth, too = train(args, place, tree, "test", model, seed, setting)
                if same != too:
                    raise SystemExit(f"{name}, seed {seed}: two trainings differ")
                for rule, choose in RULES.items():
                    row = kept.setdefault((setting or "defaults", rule), {})
                    row.setdefault(name, []).append(worth[choose(seen)])
    names = list(dict.fromkeys(name for row in kept.values() for name in row))
    print("| setting | kept | " + " | ".join(names) + " |\n|---|---|" + "---|" * len(names))
    for (setting, rule), row in kept.items():
        mean = lambda name, figure: statistics.mean(e[figure] for e in row[name])
        cells = [f"{mean(n, 'top1'):.4f}, loss {mean(n, 'loss'):.3f}" for n in names]
        print(f"| {setting} | {rule} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

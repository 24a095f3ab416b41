"""What training above a cut buys on small sets of pictures, beside the probe on the same pictures.

usage: recipes.py THAW MODEL WORK SET[,SET...] [--cuts=last,stage5.2] [--seeds=5] [--cv] [OPTION...]

SET: a folder with one folder a class, or with train and test folders of that kind. --cv: all its pictures
in as many folds as seeds, split by number within the class; otherwise each seed trains on train and is
scored on test. Other options go to thaw train. WORK gets the folds, the runs and the cache. Prints top-1
of each seed, mean and standard error, and for each cut the paired difference to the first cut with its
standard error, and pictures that only one of the two answers right (McNemar's exact test).
"""
import csv
import math
import os
import statistics
import subprocess
import sys


def pictures_of(folder):
    """{class: [paths]} of all pictures, from one folder or from train and test together."""
    parts = [os.path.join(folder, p) for p in ("train", "test")]
    parts = parts if all(map(os.path.isdir, parts)) else [folder]
    found = {}
    for part in parts:
        for name in sorted(os.listdir(part)):
            found.setdefault(name, []).extend(
                os.path.join(part, name, f) for f in sorted(os.listdir(os.path.join(part, name))))
    return found


def make_folds(folder, work, folds):
    for fold in range(folds):
        for name, paths in pictures_of(folder).items():
            for i, path in enumerate(paths):
                part = "test" if i % folds == fold else "train"
                to = os.path.join(work, f"fold{fold}", part, name)
                os.makedirs(to, exist_ok=True)
                link = os.path.join(to, f"{i:04}" + os.path.splitext(path)[1])
                if not os.path.exists(link):
                    os.symlink(path, link)


def run(thaw, model, data, out, cache, cut, seed, options):
    command = [thaw, "train", f"--model={model}", f"--data.train={data}", f"--out={out}",
               f"--cache.dir={cache}", f"--freeze={cut}", f"--seed={seed}", "--log=error", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(" ".join(command) + "\n" + done.stderr[-2000:])
    with open(os.path.join(out, "predictions.csv"), newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {row[0]: row[1] == row[2] for row in rows}


def exact_p(a, b):
    """Two-sided: a and b of a + b pictures are as likely as each other."""
    n, k = a + b, min(a, b)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
    return min(1.0, 2 * tail)


def error(values):
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def measure(thaw, model, work, folder, cuts, seeds, cv, options):
    name = os.path.basename(folder.rstrip("/"))
    work = os.path.join(work, name + ("_cv" if cv else ""))
    os.makedirs(work, exist_ok=True)
    if cv:
        make_folds(folder, work, seeds)
    right = {}
    for cut in cuts:
        for seed in range(seeds):
            data = os.path.join(work, f"fold{seed}") if cv else folder
            answers = run(thaw, model, data, os.path.join(work, "run"),
                          os.path.join(work, "..", "cache"), cut, seed + 1, options)
            right.setdefault(cut, []).append(answers)
        top1 = [sum(a.values()) / len(a) for a in right[cut]]
        print(f"{name:10} {cut:10} top-1 {statistics.mean(top1):.4f} +- {error(top1):.4f}   "
              + " ".join(f"{t:.4f}" for t in top1), flush=True)
    for cut in cuts[1:]:
        pairs = list(zip(right[cuts[0]], right[cut]))
        differences = [sum(b.values()) / len(b) - sum(a.values()) / len(a) for a, b in pairs]
        only = [sum(b[p] and not a[p] for a, b in pairs for p in a),
                sum(a[p] and not b[p] for a, b in pairs for p in a)]
        print(f"{name:10} {cut:10} against {cuts[0]}: {statistics.mean(differences):+.4f} +- "
              f"{error(differences):.4f}; right alone {only[0]}, wrong alone {only[1]}, "
              f"p = {exact_p(*only):.2g}", flush=True)


def main():
    flags = [a for a in sys.argv[1:] if a.startswith("--")]
    thaw, model, work, sets = [a for a in sys.argv[1:] if not a.startswith("--")]
    own = {"--cuts": "last,stage5.2", "--seeds": "5", "--cv": None}
    for flag in list(flags):
        key = flag.split("=")[0]
        if key in own:
            own[key] = flag.split("=")[1] if "=" in flag else True
            flags.remove(flag)
    for folder in sets.split(","):
        measure(thaw, model, work, os.path.abspath(folder), own["--cuts"].split(","),
                int(own["--seeds"]), own["--cv"], flags)


if __name__ == "__main__":
    main()

"""Pictures with several classes beside scikit-learn: mAP, F1 and the loss from the scores that a run wrote, and the
scores of its model.onnx in ONNX Runtime.

usage: test_several.py THAW THAW-DRAW SOURCES
"""
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime

try:
    from sklearn.metrics import average_precision_score, f1_score
except ImportError as error:
    print(f"SKIPPED: {error}; ./thaw test makes a Python that has it")
    sys.exit(77)

CLOSE = 2e-5  # Scores in the table have six digits.


def write_list(place):
    """Drawn species with what they share: some pictures have three classes, some none."""
    with open(f"{place}/several.csv", "w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["path", "label", "split"])
        for split in "train", "test":
            for k, name in enumerate(sorted(os.listdir(f"{place}/pics/{split}"))):
                for i, picture in enumerate(sorted(os.listdir(f"{place}/pics/{split}/{name}"))):
                    has = [name] * (k < 6) + ["early"] * (k < 4) + ["odd"] * (k % 2) + ["third"] * (i % 3 == 0)
                    table.writerow([f"pics/{split}/{name}/{picture}", "|".join(has), split])


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    classes = rows[0][3:]
    truth = np.array([[name in row[1].split("|") for name in classes] for row in rows[1:]])
    answer = np.array([[name in row[2].split("|") for name in classes] for row in rows[1:]])
    return classes, truth, answer, np.array([[float(x) for x in row[3:]] for row in rows[1:]])


def check(name, got, want):
    good = abs(got - want) <= CLOSE
    print(f"{name}: {got:.6f}, scikit-learn {want:.6f}{'' if good else '  DIFFERENT'}")
    return good


def main():
    thaw, draw, sources = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([draw, "demo8", f"{place}/pics", "12", "6", "64", "7"], check=True, capture_output=True)
        write_list(place)
        subprocess.run([thaw, "train", f"--data.train={place}/several.csv", f"--out={place}/run", "--log=error",
                        f"--model={sources}/datasets/flower_or_not.onnx", "--cache.dir=none", "--epochs=40"],
                       check=True, stdout=subprocess.DEVNULL)
        classes, truth, answer, scores = read_table(f"{place}/run/predictions.csv")
        with open(f"{place}/run/metrics.json", encoding="utf-8") as file:
            metrics = json.load(file)
        good = np.array_equal(answer, scores > 0.5)
        ap = [average_precision_score(truth[:, k], scores[:, k]) for k in range(len(classes))]
        good &= check("mAP", metrics["map"], np.mean(ap))
        for k, name in enumerate(classes):
            good &= check(f"AP of {name}", metrics["classes"][k]["average_precision"], ap[k])
        good &= check("F1 micro", metrics["f1_micro"], f1_score(truth, answer, average="micro"))
        good &= check("F1 macro", metrics["f1_macro"], f1_score(truth, answer, average="macro"))
        good &= check("all classes right", metrics["exact"], (truth == answer).all(axis=1).mean())
        p = np.where(truth, scores, 1 - scores).clip(1e-6)
        good &= abs(metrics["loss"] + np.log(p).sum(axis=1).mean()) < 1e-3
        # The file's own output are these scores: one below the other, each by itself.
        model = onnx.load(f"{place}/run/model.onnx")
        good &= model.graph.node[-1].op_type == "Sigmoid"
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        shape = [d if isinstance(d, int) else 1 for d in session.get_inputs()[0].shape]
        out = session.run(None, {session.get_inputs()[0].name: np.zeros(shape, np.float32)})[0]
        good &= out.shape == (1, len(classes)) and bool(((out > 0) & (out < 1)).all())
    sys.exit(0 if good else 1)


main()

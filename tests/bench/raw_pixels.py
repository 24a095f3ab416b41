#!/usr/bin/env python3
"""How far raw pixels alone get on a dataset of class folders: the bar that features must clear.

Usage: raw_pixels.py FOLDER [--model datasets/flower_or_not.onnx]
                                   (with FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg)

Fits scikit-learn's logistic regression on centre crops of several sizes, and on colour histograms,
and prints the best test accuracy over a sweep of regularisation strengths, which flatters it.
With a model, the same on what goes into its last layer, with the preprocessing that it carries.
"""
import argparse
import json
import pathlib

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def load(folder, side):
    """Centre crops of all pictures as rows of bytes, and their class names."""
    rows, names = [], []
    for path in sorted(pathlib.Path(folder).glob("*/*.jpg")):
        picture = Image.open(path).convert("RGB")
        short = min(picture.size)
        left, top = (picture.width - short) // 2, (picture.height - short) // 2
        box = (left, top, left + short, top + short)
        crop = picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
        rows.append(np.asarray(crop, dtype=np.uint8).ravel())
        names.append(path.parent.name)
    return np.stack(rows), np.array(names)


def histograms(rows):
    """Joint colour histograms, 6 bins a channel."""
    pixels = rows.reshape(len(rows), -1, 3).astype(int) * 6 // 256
    codes = pixels @ np.array([36, 6, 1])
    return np.sqrt(np.stack([np.bincount(c, minlength=216) for c in codes]) / codes.shape[1])


def features(model_path, folder):
    """The input of the model's last layer for every picture, and the class names."""
    import onnx
    import onnxruntime

    model = onnx.load(model_path)
    properties = {p.key: p.value for p in model.metadata_props}
    how = json.loads(properties["thaw.preprocess"])
    last = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1].input[0]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(last))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    rows, names = load(folder, how["width"])
    x = rows.reshape(-1, how["height"], how["width"], 3).astype(np.float32)
    x = (x * how["scale"] - np.array(how["mean"])) / np.array(how["std"])
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)
    scores, inner = session.run(None, {session.get_inputs()[0].name: x})
    labels = json.loads(properties["thaw.labels"])
    answers, counts = np.unique(scores.argmax(1), return_counts=True)
    said = ", ".join(f"{labels[a]} {n}" for a, n in zip(answers, counts))
    print(f"the model's own answers on {folder}: {said}")
    return inner.reshape(len(inner), -1), names


def best_accuracy(train, train_names, test, test_names):
    best = (0.0, 0.0)
    for c in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
        model.fit(train.astype(np.float32), train_names)
        best = max(best, (model.score(test.astype(np.float32), test_names), c))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--model", help="an ONNX file with thaw.preprocess in it")
    args = parser.parse_args()
    if args.model:
        train, train_names = features(args.model, f"{args.folder}/train")
        test, test_names = features(args.model, f"{args.folder}/test")
        accuracy, c = best_accuracy(train, train_names, test, test_names)
        print(f"features of {args.model}: {accuracy:.1%} of {len(test)} (C = {c:g})")
    for side in args.sides:
        train, train_names = load(f"{args.folder}/train", side)
        test, test_names = load(f"{args.folder}/test", side)
        accuracy, c = best_accuracy(train, train_names, test, test_names)
        print(f"raw pixels at {side} x {side}: {accuracy:.1%} of {len(test)} (C = {c:g})")
    accuracy, c = best_accuracy(histograms(train), train_names, histograms(test), test_names)
    print(f"colour histograms: {accuracy:.1%} of {len(test)} (C = {c:g})")


if __name__ == "__main__":
    main()

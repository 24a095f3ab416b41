#!/usr/bin/env python3
"""How far raw pixels alone get on a dataset of class folders: the bar that features must clear.

Usage: raw_pixels.py FOLDER        (with FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg)

Fits scikit-learn's logistic regression on centre crops of several sizes, and on colour histograms,
and prints the best test accuracy over a sweep of regularisation strengths, which flatters it.
"""
import argparse
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
    parser.add_argument("--sides", type=int, nargs="+", default=[16, 32, 64])
    args = parser.parse_args()
    for side in args.sides:
        train, train_names = load(f"{args.folder}/train", side)
        test, test_names = load(f"{args.folder}/test", side)
        accuracy, c = best_accuracy(train, train_names, test, test_names)
        print(f"raw pixels at {side} x {side}: {accuracy:.1%} of {len(test)} (C = {c:g})")
    accuracy, c = best_accuracy(histograms(train), train_names, histograms(test), test_names)
    print(f"colour histograms: {accuracy:.1%} of {len(test)} (C = {c:g})")


if __name__ == "__main__":
    main()

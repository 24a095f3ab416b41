#!/usr/bin/env python3
"""How well a run tells what it does not know, and what its scores are worth: training pictures of one set, and
pictures of classes of another set that it lacks.

Usage: unknown.py THAW MODEL.onnx KNOWN UNKNOWN CLASS... [-- OPTION...]

KNOWN holds train/CLASS/*.jpg and test/CLASS/*.jpg, UNKNOWN holds CLASS/*.jpg, of which those named are unknown.
Trains on KNOWN as it is split, and on its five folds, each with rejecting (by distance) and without (by the
answers' scores). Prints a row a training: what a distance and a score tell (AUROC), how many known and unknown
pictures are rejected, and the calibration error with the temperature and without it. OPTIONs go to thaw train."""
import json
import pathlib
import subprocess
import sys
import tempfile


def train(command, out, *options):
    subprocess.run([*command, f"--out={out}", *options], check=True, capture_output=True)
    return json.loads((out / "metrics.json").read_text())


def main():
    words = sys.argv[1:]
    options = words[words.index("--") + 1:] if "--" in words else []
    words = words[:words.index("--")] if "--" in words else words
    if len(words) < 5:
        sys.exit(__doc__)
    thaw, model, known, unknown, *classes = words
    print("| split | told by | AUROC by distance | by score | known rejected | unknown rejected | ECE | without T | T |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "others").mkdir()
        for name in classes:
            (place / "others" / name).symlink_to((pathlib.Path(unknown) / name).resolve())
        command = [thaw, "train", f"--data.train={known}", f"--model={model}", f"--cache.dir={place}/cache",
                   f"--data.unknown={place}/others", *options]
        for split in ["", "1/5", "2/5", "3/5", "4/5", "5/5"]:
            fold = [f"--data.fold={split}"] if split else []
            m = train(command, place / "run", *fold)
            score = train(command, place / "run", *fold, "--reject.rate=0")["unknown"]["auroc"]
            told = m["reject"]["method"] + (f" {m['reject']['neighbours']}" if "neighbours" in m["reject"] else "")
            print(f"| {split or 'its own'} | {told} | {m['unknown']['auroc']:.4f} | {score:.4f} "
                  f"| {m['known']['rejected']} of {m['known']['n']} | {m['unknown']['rejected']} of {m['unknown']['n']} "
                  f"| {m['ece']:.4f} | {m.get('ece_uncalibrated', m['ece']):.4f} | {m['temperature']:.3f} |", flush=True)


if __name__ == "__main__":
    main()

"""The model.onnx of a run, in ONNX Runtime, against what `thaw predict` says of the same pictures.

usage: test_export.py THAW THAW-DRAW SOURCE-FOLDER

The pictures are PNGs of the network's own size, so that nothing is resized and both sides see the
same pixels. What is compared is the whole way: decoding, preprocessing, trunk, head, softmax.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from PIL import Image

TOLERANCE = 1e-4


def run(*words):
    result = subprocess.run(words, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(words)}: exit code {result.returncode}\n{result.stderr}")
    return result.stdout


def crop(source, target, side):
    """The middle of a picture as a PNG of side x side."""
    picture = Image.open(source).convert("RGB")
    scale = side / min(picture.size)
    if scale != 1:
        size = [max(side, round(scale * n)) for n in picture.size]
        picture = picture.resize(size, Image.BILINEAR)
    left, top = ((n - side) // 2 for n in picture.size)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    picture.crop((left, top, left + side, top + side)).save(target)


def crop_all(source, target, side, most):
    for name in sorted(os.listdir(source)):
        files = sorted(os.listdir(os.path.join(source, name)))[:most]
        for i, file in enumerate(files):
            crop(os.path.join(source, name, file), os.path.join(target, name, f"{i}.png"), side)


def pixels(path, record):
    """One picture as the network takes it, by the bundle's own record: 3 x H x W."""
    x = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)
    assert x.shape == (record["height"], record["width"], 3), x.shape
    assert record["fit"] == "squash" or record["shorter"] == record["width"]
    if record["order"] == "bgr":
        x = x[:, :, ::-1]
    x = (x * record["scale"] - record["mean"]) / record["std"]
    return x.transpose(2, 0, 1).astype(np.float32)


def check(what, thaw, folder, data, model, options):
    out = os.path.join(folder, "run")
    shutil.rmtree(out, ignore_errors=True)
    run(thaw, "train", f"--data.train={data}", f"--model={model}", f"--out={out}", "--epochs=20",
        f"--cache.dir={folder}/cache", "--log=warn", *options)
    with open(os.path.join(out, "bundle.json")) as file:
        bundle = json.load(file)
    labels = bundle["labels"]
    files = [os.path.join(data, c, f) for c in labels for f in os.listdir(os.path.join(data, c))]
    lines = run(thaw, "predict", out, "--json", f"--top={len(labels)}", *files).splitlines()
    assert len(lines) == len(files)
    ours = np.zeros((len(files), len(labels)))
    for row, (file, line) in enumerate(zip(files, map(json.loads, lines))):
        assert line["file"] == file
        for entry in line["predictions"]:
            ours[row, labels.index(entry["class"])] = entry["score"]

    exported = os.path.join(out, "model.onnx")
    try:
        import onnx
        onnx.checker.check_model(exported, full_check=True)
        checked = "onnx.checker passes"
    except ImportError:
        checked = "onnx is not there to check the file"
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    assert session.get_outputs()[0].shape[1] == len(labels)
    x = np.stack([pixels(file, bundle["preprocess"]) for file in files])
    theirs = session.run(None, {name: x})[0]
    alone = session.run(None, {name: x[:1]})[0]
    worst = np.abs(ours - theirs).max()
    print(f"{what}: {len(files)} pictures, {len(labels)} classes, largest difference {worst:.1e}; "
          f"{checked}")
    if not worst <= TOLERANCE:
        sys.exit(f"{what}: scores differ by {worst:.1e}, {TOLERANCE:.0e} is allowed")
    if not np.abs(alone - theirs[:1]).max() <= 1e-5:
        sys.exit(f"{what}: the batch is not free")
    if (ours.argmax(1) != theirs.argmax(1)).any():
        sys.exit(f"{what}: another class comes first")


def main():
    thaw, draw, source = (os.path.abspath(word) for word in sys.argv[1:4])
    shared = os.path.join(source, "..", "shared")
    with tempfile.TemporaryDirectory() as folder:
        drawn, data = os.path.join(folder, "drawn"), os.path.join(folder, "data")
        run(draw, "demo8", drawn, "6", "1", "96", "11")
        crop_all(os.path.join(drawn, "train"), data, 96, 6)
        base = os.path.join(source, "datasets", "flower_or_not.onnx")
        check("linear head", thaw, folder, data, base, [])
        check("hidden head", thaw, folder, data, base, ["--head.kind=hidden", "--head.hidden=17"])
        check("BGR, other scale", thaw, folder, data, base, ["--preprocess=caffe"])
        model = os.path.join(shared, "models", "mobilenet_v2.onnx")
        pictures = os.path.join(shared, "data", "oxford12", "train")
        if os.path.exists(model) and os.path.isdir(pictures):
            data = os.path.join(folder, "oxford12")
            crop_all(pictures, data, 224, 4)
            check("MobileNetV2", thaw, folder, data, model, [])
            check("MobileNetV2, hidden head", thaw, folder, data, model, ["--head.kind=hidden"])
        else:
            print("SKIPPED: MobileNetV2, which is not beside the project")


if __name__ == "__main__":
    main()

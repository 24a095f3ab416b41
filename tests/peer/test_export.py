"""The model.onnx of a run, in ONNX Runtime, against what `thaw predict` says of the same pictures.

usage: test_export.py THAW THAW-DRAW SOURCE-FOLDER
       test_export.py THAW models SOURCE-FOLDER      a run of every network in tests/data/onnx

The pictures are PNGs of the network's own size, so that nothing is resized and both sides see the
same pixels. What is compared is the whole way: decoding, preprocessing, trunk, head, softmax.
"""
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
from PIL import Image

TOLERANCE = 1e-4  # Unless the network itself blows roundings up to more; see last_bits.


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


def raw_pixels(path, record):
    """One picture as it is: H x W x C."""
    c = record["channels"]
    x = np.asarray(Image.open(path).convert("RGB" if c == 3 else "L"))
    x = x.reshape(*x.shape[:2], c)
    assert x.shape == (record["height"], record["width"], c), x.shape
    assert record["fit"] == "squash" or record["shorter"] == record["width"]
    return x


# What files may take; Thaw's own keep what the model took.
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
         "tensor(uint8)": np.uint8}


def pixels(path, record):
    """One picture as the network takes it, by the bundle's own record: H x W x C."""
    c, x = record["channels"], raw_pixels(path, record).astype(np.float64)
    if record["order"] == "bgr":
        x = x[:, :, ::-1]
    x = (x * record["scale"] - record["mean"][:c]) / record["std"][:c]
    return x.astype(np.float32)


def last_bits(path, x, theirs):
    """How far scores move when the last bit of every weight is another."""
    model, random = onnx.load(path), np.random.default_rng(0)
    for t in model.graph.initializer:
        if t.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(t)
            t.raw_data = (values * (1 + 1e-7 * random.choice([-1, 1], values.shape))).astype("<f4").tobytes()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.abs(session.run(None, {session.get_inputs()[0].name: x})[0] - theirs).max()


def check_safetensors(thaw, run_folder, exported):
    """What was trained, as safetensors, is what model.onnx has under these names."""
    path = os.path.join(run_folder, "trained.safetensors")
    run(thaw, "export", run_folder, "--safetensors", path)
    with open(path, "rb") as file:
        data = file.read()
    length = int.from_bytes(data[:8], "little")
    header, numbers = json.loads(data[8 : 8 + length]), data[8 + length :]
    tensors = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(exported).graph.initializer}
    assert len(header) >= 2 and any(name.startswith("thaw_logits") for name in header)
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        ours = np.frombuffer(numbers[begin:end], np.float32).reshape(entry["shape"])
        assert entry["dtype"] == "F32" and np.array_equal(ours, tensors[name]), name
    assert max(e["data_offsets"][1] for e in header.values()) == len(numbers)


def train(thaw, out, words):
    """With the old head kept, where that can be done; whether it is."""
    shutil.rmtree(out, ignore_errors=True)
    words = [thaw, "train", f"--out={out}", "--epochs=20", "--log=error", *words]
    kept = subprocess.run([*words, "--head.keep_old"], capture_output=True, text=True)
    if kept.returncode != 0 and "head.keep_old" in kept.stderr:
        run(*words)
    elif kept.returncode != 0:
        sys.exit(f"{' '.join(words)} --head.keep_old: {kept.stderr}")
    return kept.returncode == 0


def probabilities(numbers, last):
    """Of the old head's numbers, by the operator that made them: the most likely answer and its own."""
    x = numbers.reshape(len(numbers), -1).astype(np.float64)
    if x.shape[1] == 1:
        x = x if last == "Sigmoid" else 1 / (1 + np.exp(-x))
        x = np.concatenate([1 - x, x], axis=1)
    elif last not in ("Softmax", "Sigmoid"):
        x = np.exp(x - x.max(1, keepdims=True))
        x /= x.sum(1, keepdims=True)
    return x


def runs_as_it_is(model, takes):
    """Floats, any batch, and no layer in training mode: as the file that Thaw makes of it."""
    type = model.graph.input[0].type.tensor_type
    return (type.elem_type == onnx.TensorProto.FLOAT and not type.shape.dim[0].dim_value
            and [d.dim_value for d in type.shape.dim][1:] == list(takes.shape[1:])
            and all(t.data_type != onnx.TensorProto.DOUBLE for t in model.graph.initializer)
            and not any(a.name == "training_mode" and a.i for n in model.graph.node for a in n.attribute)
            and not any(n.op_type == "BatchNormalization" and len(n.output) > 1 for n in model.graph.node))


def open_as_written(path):
    """Nothing fused, which depends on what else a file has."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def check_old(what, exported, takes, x, lines, model, old):
    """The file's second output is the old model's to the bit, and what predict says is what it says."""
    numbers = open_as_written(exported).run([old["output"]], {takes.name: x})[0]
    proto = onnx.load(model)
    was_output = old["output"] in {o.name for o in proto.graph.output}  # Not in front of a tail.
    if old["exact"] and was_output and runs_as_it_is(proto, takes):
        before = open_as_written(model)
        want = before.run([old["output"]], {before.get_inputs()[0].name: x})[0]
        if not np.array_equal(numbers, want):
            sys.exit(f"{what}: the old head's output is another, by {np.abs(numbers - want).max():.1e}")
    nodes = {name: node.op_type for node in proto.graph.node for name in node.output}
    theirs = probabilities(numbers, nodes[old["output"]])
    assert len(old["labels"]) == theirs.shape[1]
    for row, line in zip(theirs, map(json.loads, lines)):
        said = row[old["labels"].index(line["old"]["class"])]
        if not (abs(line["old"]["score"] - said) <= 1e-3 and said >= row.max() - 1e-3):
            sys.exit(f"{what}: the old head says {row.max()} where predict says {line['old']}")


def is_accepted(model):
    try:
        onnx.checker.check_model(model)
        return True
    except onnx.checker.ValidationError:
        return False


def check_pixels(what, thaw, run_folder, files, record, ours, most):
    """With its preprocessing in front, the file says of decoded pixels what predict does, but for `most`."""
    path = os.path.join(run_folder, "pixels.onnx")
    whole = run(thaw, "export", run_folder, "--onnx", path, "--export.preprocess")
    assert "takes decoded pixels, u8 [N, H, W, 3]" in whole
    if is_accepted(os.path.join(run_folder, "model.onnx")):
        onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]
    assert takes.type == "tensor(uint8)", takes
    assert takes.shape[1:] == [record["height"], record["width"], record["channels"]]
    x = np.stack([raw_pixels(file, record) for file in files])
    scores = session.run(None, {takes.name: x})[0]
    worst = np.abs(scores - ours).max()
    if not worst <= most:
        sys.exit(f"{what}: with its preprocessing in front, scores differ by {worst:.1e}")


def check_next(what, thaw, folder, data):
    """A file with its preprocessing in front is a model to train on, which takes pixels as they are."""
    path = os.path.join(folder, "next.onnx")
    shutil.copy(os.path.join(folder, "run", "pixels.onnx"), path)
    told = run(thaw, "inspect", path)
    assert "from the model's own metadata; certain" in told and "whole numbers" in told, told
    check(f"{what}, on a file with its preprocessing in front", thaw, folder, data, path,
          ["--export.preprocess"])


def check(what, thaw, folder, data, model, options):
    out = os.path.join(folder, "run")
    kept = train(thaw, out, [f"--data.train={data}", f"--model={model}", f"--cache.dir={folder}/cache",
                             *options])
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
    if is_accepted(model):  # Not so an operator that a newer opset has taken back.
        onnx.checker.check_model(exported, full_check=True)
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    takes = session.get_inputs()[0]
    assert session.get_outputs()[0].shape[1] == len(labels)
    x = np.stack([pixels(file, bundle["preprocess"]) for file in files])
    if list(takes.shape[1:]) != list(x.shape[1:]):
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    x = x.astype(TYPES[takes.type])
    was = onnx.load(model, load_external_data=False)
    own = {i.name: i.type.tensor_type.elem_type for i in was.graph.input}[takes.name]
    assert TYPES[takes.type] == onnx.helper.tensor_dtype_to_np_dtype(own), takes.type
    assert {o.domain: o.version for o in was.opset_import}.items() >= {
        o.domain: o.version for o in onnx.load(exported).opset_import}.items()
    theirs = session.run(None, {takes.name: x})[0]
    alone = session.run(None, {takes.name: x[:1]})[0]
    worst, spread = np.abs(ours - theirs).max(), np.median(np.ptp(ours, axis=0))
    print(f"{what}: {len(files)} pictures, {len(labels)} classes, scores {spread:.2g} apart, largest "
          f"difference {worst:.1e}")
    if not 0.01 < spread or np.median(ours.max(axis=1)) > 0.9999:
        sys.exit(f"{what}: the scores are all alike, or certain: that they agree says nothing")
    own = 0
    if not worst <= TOLERANCE:
        own = last_bits(exported, x, theirs)
        print(f"{what}: other last bits of the weights make {own:.1e}")
        if not worst <= 30 * own:
            sys.exit(f"{what}: scores differ by {worst:.1e}, {TOLERANCE:.0e} is allowed")
    check_pixels(what, thaw, out, files, bundle["preprocess"], ours, worst + max(TOLERANCE, 30 * own))
    if kept:
        check_old(what, exported, takes, x, lines, model, bundle["old"])
    check_safetensors(thaw, out, exported)
    if not np.abs(alone - theirs[:1]).max() <= 1e-5:
        sys.exit(f"{what}: the batch is not free")
    return kept, worst, own


def noise(folder, height, width, channels):
    """Two classes of the same random pixels, of many brightnesses: nothing that could be learnt."""
    random = np.random.default_rng(1)
    for i in range(16):
        low, high = np.sort(random.integers(0, 257, 2)) + [0, 1]
        x = random.integers(low, high, (height, width, channels)).clip(0, 255).astype(np.uint8)
        path = os.path.join(folder, "ab"[i % 2], f"{i}.png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Image.fromarray(x if channels == 3 else x[:, :, 0]).save(path)


def check_model(thaw, model):
    """Whether the old head was kept; the largest difference of a score, and, where that is more than TOLERANCE, the
    one that other last bits of the weights make. SystemExit where anything is wrong."""
    shape = onnx.load(model, load_external_data=False).graph.input[0].type.tensor_type.shape
    dims = [d.dim_value or 224 for d in shape.dim][1:]
    channels_last = dims[2] in (1, 3) and dims[0] not in (1, 3)
    height, width, channels = dims if channels_last else (*dims[1:], dims[0])
    with tempfile.TemporaryDirectory() as folder:
        noise(os.path.join(folder, "data"), height, width, channels)
        return check(os.path.basename(model), thaw, folder, os.path.join(folder, "data"), model,
                     ["--image.fit=squash", "--threads=1", "--data.validation=0", "--epochs=2", "--head.lr=0.004"])


# Networks that once were wrong, in ../shared/faults/onnx.
MENDED = ["act_after_grouped_conv_1", "act_after_grouped_conv_2", "bn_training_14", "conv_1x1_map_head", "f16", "f64",
          "nhwc_ln"]


def check_models(thaw, source):
    folder = os.path.join(source, "tests", "data", "onnx")
    faults = os.path.join(source, "..", "shared", "faults", "onnx")
    models = sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".onnx"))
    if os.path.isdir(faults):
        models += [os.path.join(faults, name + ".onnx") for name in MENDED]
    else:
        print("SKIPPED: networks that once failed, which are not beside the project")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = [pool.submit(check_model, thaw, model) for model in models]
    failures = [f"{os.path.basename(model)}: {run.exception()}" for model, run in zip(models, runs) if run.exception()]
    kept = sum(run.result()[0] for run in runs if not run.exception())
    print(f"{len(models)} networks, {kept} with their old head kept, {len(failures)} failures")
    sys.exit("\n".join(failures) if failures or len(models) < 80 or kept < 20 else 0)


def main():
    thaw, draw, source = (os.path.abspath(word) for word in sys.argv[1:4])
    if sys.argv[2] == "models":
        check_models(thaw, source)
    shared = os.path.join(source, "..", "shared")
    with tempfile.TemporaryDirectory() as folder:
        drawn, data = os.path.join(folder, "drawn"), os.path.join(folder, "data")
        run(draw, "demo8", drawn, "6", "1", "96", "11")
        crop_all(os.path.join(drawn, "train"), data, 96, 6)
        base = os.path.join(source, "datasets", "flower_or_not.onnx")
        check("linear head", thaw, folder, data, base, [])
        check("hidden head", thaw, folder, data, base, ["--head.kind=hidden", "--head.hidden=17"])
        check("above a cut", thaw, folder, data, base,
              ["--freeze=stage2", "--top.epochs=3", "--top.lr=0.01"])
        check("above a cut, BN of batches", thaw, folder, data, base,
              ["--freeze=1", "--top.epochs=2", "--top.norm=full", "--top.batch=16", "--recipe=joint"])
        check_next("BN of batches", thaw, folder, data)
        check("BGR, other scale", thaw, folder, data, base, ["--preprocess=caffe"])
        check_next("BGR, other scale", thaw, folder, data)
        model = os.path.join(shared, "models", "mobilenet_v2.onnx")
        pictures = os.path.join(shared, "data", "oxford12", "train")
        if os.path.exists(model) and os.path.isdir(pictures):
            data = os.path.join(folder, "oxford12")
            crop_all(pictures, data, 224, 4)
            check("MobileNetV2", thaw, folder, data, model, [])
            check("MobileNetV2, above a cut", thaw, folder, data, model,
                  ["--freeze=stage5.2", "--top.epochs=2"])
            check("MobileNetV2, hidden head", thaw, folder, data, model, ["--head.kind=hidden"])
        else:
            print("SKIPPED: MobileNetV2, which is not beside the project")


if __name__ == "__main__":
    main()

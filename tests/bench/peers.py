#!/usr/bin/env python3
"""Thaw beside ONNX Runtime, PyTorch and libjpeg-turbo: one model, the same pictures, the same
number of threads, in one go.

Usage: peers.py MODEL.onnx OXFORD12 FLOWERS5 [--only trunk,decode,...] [--write]

OXFORD12 holds train/CLASS/*.jpg and test/CLASS/*.jpg, FLOWERS5 holds CLASS/*.jpg in original size.
Needs a build (cmake -B build && cmake --build build) and, for the peers:

    pip install numpy onnx onnxruntime torch

A peer that is missing is skipped loudly. Contenders take turns, each after a warm-up, so that what
else the machine does falls on all of them; a turn in which other processes took more than
--others of the machine is taken again, up to a limit that is reported. Prints a table last;
--write puts it under tests/bench/results. Exit code 1: a part failed; 3: a goal was missed.
"""
import argparse
import ctypes
import datetime
import functools
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "bench" / "results"
PARTS = {}


def part(function):
    PARTS[function.__name__.removeprefix("part_")] = function
    return function


class Missing(Exception):
    """What a part needs and is not there."""


def need(name, package=None):
    try:
        return __import__(name)
    except ImportError as error:
        raise Missing(f"{error}; pip install {package or name}") from error


# ---- measuring -------------------------------------------------------------------------------


def spread(values):
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def machine_busy():
    """CPU seconds that the whole machine has spent, also for other virtual machines."""
    ticks = [int(t) for t in open("/proc/stat").readline().split()[1:9]]
    idle, iowait = ticks[3], ticks[4]
    return (sum(ticks) - idle - iowait) / os.sysconf("SC_CLK_TCK")


def own_busy(children):
    times = os.times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in children:
        fields = open(f"/proc/{child.pid}/stat").read().rsplit(")", 1)[1].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


class Turns:
    """Lets contenders take turns and keeps what each measured in undisturbed ones."""

    def __init__(self, args, children=()):
        self.args, self.children = args, children
        self.disturbed = self.taken = 0

    def wait_for_quiet(self):
        """Until others leave the machine alone for a moment, or for --patience seconds."""
        end = time.monotonic() + self.args.patience
        while time.monotonic() < end:
            busy, own = machine_busy(), own_busy(self.children)
            time.sleep(0.2)  # Threads of the contender before stop spinning, too.
            share = (machine_busy() - busy - own_busy(self.children) + own) / 0.2 / os.cpu_count()
            if share <= self.args.others:
                return

    def others(self, run):
        """(what run returns, the share of the machine that others took meanwhile)."""
        self.wait_for_quiet()
        busy, own, start = machine_busy(), own_busy(self.children), time.monotonic()
        result = run()
        seconds = time.monotonic() - start
        share = (machine_busy() - busy - own_busy(self.children) + own) / seconds / os.cpu_count()
        return result, share

    def take(self, contenders, repeats):
        """contenders: name to a function that runs once and returns a number."""
        kept = {name: [] for name in contenders}
        for run in contenders.values():
            run()
        rounds = 0
        while min(len(v) for v in kept.values()) < repeats and rounds < 4 * repeats:
            rounds += 1
            for name, run in contenders.items():
                value, share = self.others(run)
                self.taken += 1
                if share <= self.args.others:
                    kept[name].append(value)
                else:
                    self.disturbed += 1
        for name, values in kept.items():
            if not values:
                raise RuntimeError(f"{name}: no undisturbed turn; is the machine busy?")
        return {name: spread(values) for name, values in kept.items()}

    def report(self):
        return {"turns": self.taken, "disturbed": self.disturbed}


def run(command, **more):
    """Runs a program; its output. Its words are in the error when it fails."""
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-800:]}")
    return done.stdout


def program(args, name):
    path = args.build / name
    if not path.exists():
        raise Missing(f"{name} is not built: cmake -B build && cmake --build build")
    return path


# ---- what several parts share ----------------------------------------------------------------


# A process begins with the peak of the one that forked it: this one has gigabytes. So a small one runs
# the program, passes its words on, and tells its peak.
LAUNCHER = """
import os, sys
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status) and 1)
"""


def run_measured(command):
    """(seconds, peak resident KB) of a program that prints nothing on standard output."""
    start = time.monotonic()
    launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, "/bin/sh", "-c", 'exec "$0" "$@" >&2']
    kilobytes = int(run([*launcher, *command]))
    return time.monotonic() - start, kilobytes


def thaw_train(args, out, **options):
    """(seconds, peak resident KB) of a `thaw train`."""
    options = {"model": args.model, "out": out, "threads": args.threads, "log": "warn"} | options
    flags = [f"--{key.replace('__', '.')}={value}" for key, value in options.items()]
    return run_measured([program(args, "thaw"), "train", *flags])


def pictures_in(folder):
    return sorted(p for p in pathlib.Path(folder).rglob("*.jpg"))


def write_list(args, paths, name):
    path = args.temporary / name
    path.write_text("".join(f"{p}\n" for p in paths))
    return path


def pixels_of(args, paths, side=224, shorter=256):
    """u8 [n, side, side, 3] as Thaw decodes them, and their file."""
    pixels = args.temporary / "pixels"
    names = write_list(args, paths, "list")
    run([program(args, "bench_decode"), names, args.threads, 1, pixels, side, shorter])
    return np.fromfile(pixels, np.uint8).reshape(-1, side, side, 3), pixels


def input_side(model):
    inits = {w.name for w in model.graph.initializer}
    value = next(i for i in model.graph.input if i.name not in inits)
    return value.type.tensor_type.shape.dim[2].dim_value or 224


class TrunkPeers:
    """The frozen part of the model in Thaw, ONNX Runtime and PyTorch over the same pixels."""

    def __init__(self, args):
        onnx = need("onnx")
        import onnx_torch

        self.args = args
        self.cut, _ = onnx_torch.cut_at_features(onnx.load(args.model))
        side = input_side(self.cut)
        paths = pictures_in(args.flowers)[:: max(1, len(pictures_in(args.flowers)) // 32)][:32]
        self.pixels, self.pixels_path = pixels_of(args, paths, side, side * 256 // 224)
        self.about = self.bench_trunk("fp32", 1)
        scale, shift = (np.array(self.about[k], np.float32) for k in ("scale", "shift"))
        x = self.pixels.astype(np.float32) * scale + shift
        self.x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        self.batches = [self.x[i : i + 32] for i in range(0, len(self.x), 32)]

    def command(self, precision, repeats):
        bench = program(self.args, "bench_trunk")
        out = self.args.temporary / f"features.{precision}"
        files = [self.args.model, self.pixels_path, out]
        return [str(c) for c in (bench, *files, 32, self.args.threads, precision, repeats)]

    def bench_trunk(self, precision, repeats):
        return json.loads(run(self.command(precision, repeats)))

    def thaw_features(self, precision):
        features = np.fromfile(self.args.temporary / f"features.{precision}", np.float32)
        return features.reshape(len(self.pixels), -1)

    def thaw_process(self, precision):
        return subprocess.Popen(
            self.command(precision, 0), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def timed(self, call):
        def once():
            start = time.perf_counter()
            for batch in range(len(self.batches)):
                call(batch)
            return (time.perf_counter() - start) * 1e3 / len(self.x)

        return once

    def onnxruntime(self):
        ort = need("onnxruntime")
        session = session_of(ort, self.cut.SerializeToString(), self.args.threads)
        name = session.get_inputs()[0].name
        return self.timed(lambda b: session.run(None, {name: self.batches[b]}))

    def torch_module(self):
        torch = need("torch")
        import onnx_torch

        torch.set_num_threads(self.args.threads)
        return onnx_torch.OnnxModule(self.cut).eval()

    def pytorch(self):
        """Name to contender."""
        torch = need("torch")
        module = self.torch_module()
        plain = [torch.from_numpy(b) for b in self.batches]
        last = [b.to(memory_format=torch.channels_last) for b in plain]
        wide = self.torch_module().to(memory_format=torch.channels_last)

        def contender(m, batches):
            def call(b):
                with torch.inference_mode():
                    m(batches[b])

            return self.timed(call)

        found = {"PyTorch": contender(module, plain)}
        found["PyTorch channels_last"] = contender(wide, last)
        if self.args.compile:
            compiled = torch.compile(self.torch_module().to(memory_format=torch.channels_last))
            found["PyTorch compiled"] = contender(compiled, last)
        try:
            with torch.no_grad():
                frozen = torch.jit.freeze(torch.jit.trace(self.torch_module(), plain[0]))
                fused = torch.jit.optimize_for_inference(frozen)
            found["PyTorch jit"] = contender(fused, plain)
        except Exception as error:  # Not every version has it.
            print(f"peers: SKIPPED PyTorch jit: {error}", file=sys.stderr)
        return found


def session_of(ort, model, threads):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def nmse(x, reference):
    x, reference = np.asarray(x, np.float64), np.asarray(reference, np.float64)
    return float(((x - reference) ** 2).sum() / (reference**2).sum())


# ---- parts: each returns (rows of the table, everything for the record) ------------------------
# A row: what, ours, theirs, goal, whether it is met (None: there is no goal).


def ms(s):
    return f"{s['median']:.2f} ms ({s['min']:.2f} to {s['max']:.2f})"


@part
def part_trunk(args):
    """Pixels to features at batch 32. Thaw starts from u8, its peers from float in their layout."""
    peers = TrunkPeers(args)
    children, contenders, skipped = {}, {}, []

    def thaw(child):
        child.stdin.write("\n")
        child.stdin.flush()
        return json.loads(child.stdout.readline())["ms_per_image"]

    for precision in ("fp32", "bf16"):
        try:
            peers.bench_trunk(precision, 1)
        except RuntimeError as error:
            skipped.append(f"bf16: {error}")
            continue
        children[precision] = peers.thaw_process(precision)
        contenders[f"Thaw {precision}"] = functools.partial(thaw, children[precision])
    for make in (lambda: {"ONNX Runtime": peers.onnxruntime()}, peers.pytorch):
        try:
            contenders |= make()
        except Missing as error:
            skipped.append(str(error))
    turns = Turns(args, children.values())
    try:
        times = turns.take(contenders, args.repeats)
    finally:
        for child in children.values():
            child.stdin.close()
            child.wait()
    rows = []
    ours = times["Thaw fp32"]
    for name, theirs in times.items():
        if name == "Thaw fp32":
            continue
        goal, met = "", None
        if name == "ONNX Runtime":
            goal, met = "at least as fast", ours["median"] <= theirs["median"]
        rows.append((f"trunk fp32, batch 32, a picture, beside {name}", ms(ours), ms(theirs), goal, met))
    record = {"times": times, "plan": peers.about, "skipped": skipped} | turns.report()
    return rows, record, skipped


@part
def part_features(args):
    """Thaw's features beside PyTorch's for the same pixels."""
    torch = need("torch")
    import onnx_torch

    peers = TrunkPeers(args)
    with torch.inference_mode():
        x = torch.from_numpy(peers.x)
        module = peers.torch_module()
        single = onnx_torch.as_features(module(x))
        exact = onnx_torch.as_features(module.double()(x.double()))
    rows, record, skipped = [], {"pytorch_fp32_to_fp64": nmse(single, exact)}, []
    for precision, goal in (("fp32", 1e-9), ("bf16", 1e-4)):
        try:
            peers.bench_trunk(precision, 1)
        except RuntimeError as error:
            skipped.append(str(error))
            continue
        value = nmse(peers.thaw_features(precision), single)
        record[precision] = {
            "to_pytorch_fp32": value,
            "to_fp64": nmse(peers.thaw_features(precision), exact),
        }
        what = f"features {precision}, NMSE to PyTorch fp32"
        rows.append((what, f"{value:.1e}", "", f"<= {goal:g}", value <= goal))
    return rows, record, skipped


@part
def part_decode(args):
    """Decode, resize to 256, crop 224, beside libjpeg-turbo's full decode alone."""
    names = write_list(args, pictures_in(args.flowers), "flowers")
    bench = [program(args, "bench_decode"), names, args.threads, 1]
    ours, theirs, ratios = [], [], []
    turns = Turns(args)

    def once():
        result = json.loads(run(bench))
        return (
            result["images_per_s"]["median"],
            result["libjpeg_turbo_images_per_s"]["median"],
            result["ratio"]["median"],
        )

    for _ in range(4 * args.repeats):
        values, share = turns.others(once)
        turns.taken += 1
        if share > args.others:
            turns.disturbed += 1
            continue
        for to, value in zip((ours, theirs, ratios), values):
            to.append(value)
        if len(ours) == args.repeats:
            break
    if not ours:
        raise RuntimeError("no undisturbed turn; is the machine busy?")
    record = {"thaw": spread(ours), "libjpeg_turbo": spread(theirs), "ratio": spread(ratios)}
    record |= turns.report()
    ratio = record["ratio"]
    row = (
        "decode, resize, crop of flowers5, images/s, beside libjpeg-turbo alone",
        f"{record['thaw']['median']:.0f}",
        f"{record['libjpeg_turbo']['median']:.0f}",
        f"ratio >= 0.9: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
        ratio["median"] >= 0.9,
    )
    return [row], record, []


@part
def part_second(args):
    """A whole `thaw train` whose features are all in the cache."""
    cache = args.temporary / "cache-second"
    data = {"data__train": args.oxford / "train", "epochs": 30, "cache__dir": cache}
    first, _ = thaw_train(args, args.temporary / "run-second", **data)
    turns = Turns(args)
    contenders = {
        "second": lambda: thaw_train(args, args.temporary / "run-second", **data)[0],
    }
    seconds = turns.take(contenders, args.repeats)["second"]
    text = f"{seconds['median']:.2f} s ({seconds['min']:.2f} to {seconds['max']:.2f})"
    what = "second thaw train, 720 pictures, 30 epochs, start to bundle"
    row = (what, text, f"first: {first:.1f} s", "< 2 s", seconds["median"] < 2)
    return [row], {"first_s": first, "seconds": seconds} | turns.report(), []


def torch_head(args, optimizer, epochs=50, n=720, width=1280, classes=12, batch=64):
    """Seconds of a plain training loop over features in memory, shuffled each epoch."""
    torch = need("torch")
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    x, y = torch.rand(n, width), torch.arange(n) % classes

    def once():
        start = time.perf_counter()
        head = torch.nn.Linear(width, classes)
        how = {"lr": 1e-3} if optimizer == "AdamW" else {"lr": 0.01, "momentum": 0.9}
        steps = getattr(torch.optim, optimizer)(head.parameters(), weight_decay=1e-3, **how)
        for _ in range(epochs):
            for rows in torch.randperm(n).split(batch):
                steps.zero_grad()
                torch.nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
                steps.step()
        return time.perf_counter() - start

    return once


@part
def part_head(args):
    """50 epochs of a linear head over 720 x 1280 features in memory."""
    bench = program(args, "bench_head")

    def thaw():
        return json.loads(run([bench, 50, 720, 1280, 12, 64, args.threads, 1]))["median_s"]

    contenders = {"Thaw AdamW": thaw}
    contenders |= {f"PyTorch {o}": torch_head(args, o) for o in ("AdamW", "SGD")}
    turns = Turns(args)
    seconds = turns.take(contenders, args.repeats)
    ours = seconds["Thaw AdamW"]
    rows = []
    for name in ("PyTorch AdamW", "PyTorch SGD"):
        theirs = seconds[name]
        rows.append(
            (
                f"head, 50 epochs over 720 x 1280, AdamW, beside {name}",
                f"{ours['median'] * 1e3:.0f} ms ({ours['min'] * 1e3:.0f} to {ours['max'] * 1e3:.0f})",
                f"{theirs['median'] * 1e3:.0f} ms ({theirs['min'] * 1e3:.0f} to "
                f"{theirs['max'] * 1e3:.0f})",
                "not slower",
                ours["median"] <= theirs["median"],
            )
        )
    return rows, {"seconds": seconds} | turns.report(), []


def oxford_cache(args):
    return {"data__train": args.oxford, "cache__dir": args.temporary / "cache-oxford"}


@part
def part_export(args):
    """The exported model in ONNX Runtime beside `thaw predict`, on the same pixels."""
    ort = need("onnxruntime")
    out = args.temporary / "run-export"
    thaw_train(args, out, **oxford_cache(args))
    bundle = json.loads((out / "bundle.json").read_text())
    how, labels = bundle["preprocess"], bundle["labels"]
    if how["filter"] != "bilinear" or how["width"] != how["height"] or how["order"] != "rgb":
        raise Missing(f"bench_decode makes no such pixels: {how}")
    shorter = how["shorter"] if how["fit"] == "crop" else 0
    paths = pictures_in(args.oxford / "test")
    pixels, _ = pixels_of(args, paths, how["width"], shorter)
    x = (pixels.astype(np.float64) * how["scale"] - how["mean"]) / how["std"]
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)
    session = session_of(ort, str(out / "model.onnx"), args.threads)
    theirs = session.run(None, {session.get_inputs()[0].name: x})[-1]
    lines = run([program(args, "thaw"), "predict", out, *paths, "--json", "--top=100000"])
    answers = [json.loads(line)["predictions"] for line in lines.splitlines()]
    scores = [{p["class"]: p["score"] for p in answer} for answer in answers]
    ours = np.array([[s[label] for label in labels] for s in scores])
    worst = float(np.abs(ours - theirs.reshape(ours.shape)).max())
    same = float((ours.argmax(1) == theirs.reshape(ours.shape).argmax(1)).mean())
    what = f"model.onnx in ONNX Runtime, largest difference of a score, {len(paths)} pictures"
    row = (what, f"{worst:.1e}", f"same answer: {same:.1%}", "<= 1e-4", worst <= 1e-4)
    return [row], {"largest_difference": worst, "same_answer": same, "pictures": len(paths)}, []


@part
def part_accuracy(args):
    """Top-1 on the test folder with default options, seeds 1 to 5."""
    out, top1 = args.temporary / "run-accuracy", []
    for seed in range(1, 6):
        thaw_train(args, out, seed=seed, **oxford_cache(args))
        top1.append(json.loads((out / "metrics.json").read_text())["top1"])
    mean, least = statistics.mean(top1), min(top1)
    row = (
        "Oxford-12 top-1 over seeds 1 to 5, default options",
        f"mean {mean:.4f}, least {least:.4f}",
        "",
        "mean >= 0.96, least >= 0.95",
        mean >= 0.96 and least >= 0.95,
    )
    return [row], {"top1": top1}, []


def multiply(source, target, times):
    """Copies class folders `times` over; each copy differs by a comment after the start marker."""
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        (target / folder.name).mkdir(parents=True)
        for path in sorted(folder.glob("*.jpg")):
            data = path.read_bytes()
            for k in range(times):
                comment = b"\xff\xfe\x00\x04" + k.to_bytes(2, "big")
                name = f"{path.stem}-{k}.jpg"
                (target / folder.name / name).write_bytes(data[:2] + comment + data[2:])


@part
def part_memory(args):
    """Peak resident memory of `thaw train` over N and over 10 N pictures, empty cache."""
    _, nothing = run_measured(["/bin/true"])
    if nothing > 20 * 1024:
        raise RuntimeError(f"/bin/true takes {nothing} KB: the measure reads its own memory")
    peaks = {}
    for times in (1, 10):
        folder = args.temporary / f"times-{times}"
        for split in ("train", "test"):
            multiply(args.oxford / split, folder / split, times)
        for memory in ("auto", "1M"):
            for _ in range(args.memory_repeats):
                cache = args.temporary / "cache-memory"
                shutil.rmtree(cache, ignore_errors=True)
                run_folder = args.temporary / "run-memory"
                options = {"data__train": folder, "cache__dir": cache, "cache__memory": memory}
                _, kilobytes = thaw_train(args, run_folder, **options)
                peaks.setdefault((memory, times), []).append(kilobytes / 1024)
        shutil.rmtree(folder)
    rows = []
    # auto keeps all features in memory; within a budget only some bytes a picture are left.
    for memory, goal in (("auto", ""), ("1M", "< 10 % more")):
        small, large = (statistics.median(peaks[memory, t]) for t in (1, 10))
        growth = large / small - 1
        met = growth < 0.1 if goal else None
        what = f"peak resident memory at 10x the pictures, cache.memory = {memory}"
        rows.append((what, f"{large:.0f} MB ({growth:+.1%})", f"1x: {small:.0f} MB", goal, met))
    record = {f"cache.memory={m} x{t}": spread(v) for (m, t), v in peaks.items()}
    return rows, record | {"nothing_KB": nothing}, []


# ---- the whole ---------------------------------------------------------------------------------


def library_of(args, name):
    """Path of the shared library that the program loads."""
    for line in run(["ldd", program(args, "thaw")]).splitlines():
        if line.strip().startswith(name) and "=>" in line:
            return line.split("=>", 1)[1].split()[0]
    raise Missing(f"thaw loads no {name}")


def onednn_version(args):
    class Version(ctypes.Structure):
        _fields_ = [(part, ctypes.c_int) for part in ("major", "minor", "patch")]

    found = ctypes.CDLL(library_of(args, "libdnnl")).dnnl_version
    found.restype = ctypes.POINTER(Version)
    version = found().contents
    return f"{version.major}.{version.minor}.{version.patch}"


def package_of(args, name):
    """The distribution's package that the library belongs to, with its version."""
    path = os.path.realpath(library_of(args, name))
    for place in (path, path.removeprefix("/usr")):  # Where /lib is a link, the older name counts.
        try:
            owner = run(["dpkg", "-S", place]).split(":", 1)[0]
            return run(["dpkg-query", "-W", "-f=${Package} ${Version}", owner])
        except (OSError, RuntimeError):
            continue
    return path


def describe_machine(args):
    cpu = platform.processor()
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    versions = {"python": platform.python_version()}
    for name in ("numpy", "onnx", "onnxruntime", "torch"):
        try:
            versions[name] = __import__(name).__version__
        except ImportError:
            versions[name] = "missing"
    versions |= {"oneDNN": onednn_version(args), "libjpeg": package_of(args, "libjpeg")}
    git = functools.partial(subprocess.run, cwd=ROOT, capture_output=True, text=True)
    commit = git(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
    changed = git(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": args.threads,
        "versions": versions,
        "commit": commit + (" with changes" if changed else ""),
        "model": pathlib.Path(args.model).name,
    }


def load():
    return open("/proc/loadavg").read().split()[0]


def table(about, rows, record):
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        f"{about['date']}, {about['cpu']}, {about['cores']} cores, {about['threads']} threads, "
        f"commit {about['commit']}, {about['model']}; {versions}.",
        "",
        "| what | Thaw | peer | goal | met |",
        "|---|---|---|---|---|",
    ]
    words = {True: "yes", False: "**no**", None: ""}
    lines += [f"| {w} | {o} | {t} | {g} | {words[m]} |" for w, o, t, g, m in rows]
    lines += ["", "Medians; in brackets the least and the most."]
    for name, kept in record.items():
        if kept.get("disturbed"):
            lines.append(
                f"{name}: {kept['disturbed']} of {kept['turns']} turns were left out, because "
                "other processes took too much of the machine."
            )
        if "error" in kept:
            lines.append(f"{name}: failed: {kept['error']}")
        lines += [f"{name}: skipped: {s}" for s in kept.get("skipped", [])]
    return "\n".join(lines) + "\n"


def parse_arguments():
    words = __doc__.split("\n\n")
    parser = argparse.ArgumentParser(
        description=words[0], epilog="parts: " + ", ".join(PARTS) + "; see the head of this file"
    )
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("oxford", type=pathlib.Path, help="with train/CLASS and test/CLASS")
    parser.add_argument("flowers", type=pathlib.Path, help="with CLASS/*.jpg in original size")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--memory-repeats", type=int, default=2)
    parser.add_argument("--others", type=float, default=0.05, help="share of the machine")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for quiet")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--write", action="store_true", help="under tests/bench/results")
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return args


def run_part(args, name):
    """(rows, record, whether it went well)."""
    print(f"peers: {name}, load {load()}", file=sys.stderr)
    start = load()
    try:
        rows, record, skipped = PARTS[name](args)
        for reason in skipped:
            print(f"peers: SKIPPED in {name}: {reason}", file=sys.stderr)
        return rows, record | {"skipped": skipped, "load": [start, load()]}, True
    except Missing as error:
        print(f"peers: SKIPPED {name}: {error}", file=sys.stderr)
        return [], {"skipped": [str(error)]}, True
    except Exception as error:
        traceback.print_exc()
        return [], {"error": f"{type(error).__name__}: {error}"}, False


def main():
    args = parse_arguments()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # Before any peer is loaded.
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    about = describe_machine(args)
    rows, record, well = [], {}, True
    with tempfile.TemporaryDirectory(prefix="thaw-peers-") as temporary:
        args.temporary = pathlib.Path(temporary)
        for name in args.only.split(","):
            its_rows, record[name], its_well = run_part(args, name)
            rows += its_rows
            well = well and its_well
    text = table(about, rows, record)
    if args.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        stem = RESULTS / f"{about['date'][:10]}-cpu"
        stem.with_suffix(".md").write_text(text)
        whole = {"machine": about, "parts": record}
        stem.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    print(text, end="")
    missed = any(met is False for *_, met in rows)
    sys.exit(1 if not well else 3 if missed else 0)


if __name__ == "__main__":
    main()

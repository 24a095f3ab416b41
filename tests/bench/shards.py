"""Pictures in tar files beside the same pictures in folders: peak memory and CPU time of training a head on them,
few and many, with an empty cache and with a full one, whose runs read and hash each picture and compute nothing.

    shards.py THAW MODEL WORK [--few=1000] [--many=100000] [--a-shard=1000] [--rounds=3] [--memory=5M]

The pictures are 8 x 8 pixels, 205 bytes, each class as bright as no other, so that what a picture costs beside its
pixels is seen. WORK is a folder for them, caches and runs; what is there is not made again. Of all features as many
are held in memory as --memory has room for, for few pictures and for many; the others are read from the cache where
they are wanted, as those of millions are. One thread, rounds of all forms in turn; CPU seconds of user and system are
the least of the rounds. Needs Python's standard library alone; prints a table.
"""
import argparse
import io
import os
import random
import shutil
import subprocess
import tarfile

CLASSES = 10


def picture(i):
    noise = random.Random(i).randbytes(8 * 8 * 3)
    return b"P6 8 8 255\n" + bytes(i % CLASSES * 25 + b // 9 for b in noise)


def make_folder(folder, n):
    for k in range(CLASSES):
        os.makedirs(f"{folder}/{k}")
    for i in range(n):
        with open(f"{folder}/{i % CLASSES}/{i:06d}.ppm", "wb") as out:
            out.write(picture(i))


def make_shards(folder, n, a_shard, name):
    os.makedirs(folder)
    for first in range(0, n, a_shard):
        with tarfile.open(f"{folder}/part-{first // a_shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for i in range(first, min(n, first + a_shard)):
                for member, content in name(i):
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def with_cls(i):
    return (f"{i:06d}.ppm", picture(i)), (f"{i:06d}.cls", b"%d" % (i % CLASSES))


def in_folder(i):
    return ((f"{i % CLASSES}/{i:06d}.ppm", picture(i)),)


def run(args, data, cache):
    out = f"{args.work}/run"
    shutil.rmtree(out, ignore_errors=True)
    child = subprocess.Popen([args.thaw, "train", f"--model={args.model}", f"--data.train={data}", f"--out={out}",
                              f"--cache.dir={cache}", f"--cache.memory={args.memory}", "--threads=1", "--epochs=1",
                              "--log=error"],
                             stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"training on {data} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("thaw")
    parser.add_argument("model")
    parser.add_argument("work")
    parser.add_argument("--few", type=int, default=1000)
    parser.add_argument("--many", type=int, default=100000)
    parser.add_argument("--a-shard", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="5M")
    args = parser.parse_args()
    print("| pictures | form | peak, cold (MB) | CPU, cold (s) | peak, warm (MB) | CPU, warm (s) |\n"
          "|---|---|---|---|---|---|")
    for n in args.few, args.many:
        forms = {"folders": lambda to: make_folder(to, n),
                 "tar, KEY.cls": lambda to: make_shards(to, n, args.a_shard, with_cls),
                 "tar, CLASS/": lambda to: make_shards(to, n, args.a_shard, in_folder)}
        rows = {}
        for form, make in forms.items():
            data = f"{args.work}/{n}-{''.join(c for c in form if c.isalpha())}"
            if not os.path.isdir(data):
                make(data)
            rows[form] = data, [], []
        for _ in range(args.rounds):
            for data, cold, warm in rows.values():
                shutil.rmtree(f"{data}.cache", ignore_errors=True)
                cold.append(run(args, data, f"{data}.cache"))
            for _ in range(2):
                for data, cold, warm in rows.values():
                    warm.append(run(args, data, f"{data}.cache"))
        for form, (data, cold, warm) in rows.items():
            print(f"| {n} | {form} |" + "".join(f" {max(r[1] for r in runs):.1f} | {min(r[0] for r in runs):.2f} |"
                                                for runs in (cold, warm)), flush=True)


main()

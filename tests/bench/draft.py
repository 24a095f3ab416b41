"""Large JPEGs to what a network takes: bench_decode, exact and fast, beside Pillow, whole and with draft(),
taking turns in one thread; user CPU milliseconds a picture.

usage: draft.py BENCH_DECODE LIST [TURNS]      LIST: a file with one path to a JPEG a line
"""
import io
import json
import os
import resource
import subprocess
import sys
import tempfile

import PIL
from PIL import Image, features

SIDE, SHORTER = 224, 256


def thaw(program, listed, *more):
    with tempfile.NamedTemporaryFile() as pixels:
        out = subprocess.run([program, listed, "1", "1", pixels.name, str(SIDE), str(SHORTER), *more],
                             capture_output=True, check=True).stdout
    return json.loads(out)["cpu_ms_per_image"]["median"]


def pillow(files, draft):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for data in files:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
        scale = SHORTER / min(width, height)
        size = int(width * scale), int(height * scale)
        box = 0, 0, width, height
        if draft:
            # Two pixels for each of the result.
            _, box = image.draft("RGB", (2 * size[0], 2 * size[1])) or (None, box)
        left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
        image.convert("RGB").resize(size, Image.BILINEAR, box).crop((left, top, left + SIDE, top + SIDE)).load()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_utime - start) * 1e3 / len(files)


def main():
    program, listed = sys.argv[1:3]
    turns = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    files = [open(path, "rb").read() for path in open(listed).read().split("\n") if path]
    ways = {
        "thaw exact": lambda: thaw(program, listed),
        "thaw fast": lambda: thaw(program, listed, "fast"),
        "Pillow": lambda: pillow(files, False),
        "Pillow draft": lambda: pillow(files, True),
    }
    times = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            times[name].append(way())
    print(f"Pillow {PIL.__version__}, libjpeg-turbo {features.version('libjpeg_turbo')}; {len(files)} pictures, "
          f"{sum(map(len, files)) / len(files) / 1e6:.2f} MB each; user CPU ms a picture, median of {turns} turns (least)")
    for name, all_of in times.items():
        print(f"{name:14}{sorted(all_of)[len(all_of) // 2]:8.1f}{min(all_of):8.1f}")


if __name__ == "__main__":
    main()

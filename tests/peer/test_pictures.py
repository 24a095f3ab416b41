"""Small pictures of every kind, whole, cut at every length and with every byte changed: what Thaw and
Pillow make of the same bytes.

usage: test_pictures.py DECODE_PICTURES SOURCE-FOLDER

Thaw may refuse what Pillow reads. It never gives other pixels than Pillow's, and reads what Pillow
refuses only for a reason in the lists below. Large JPEGs that are decoded fast are what Pillow's draft()
leaves of them, resized by Pillow.
"""
import io
import os
import struct
import subprocess
import sys
import warnings
from fnmatch import fnmatch

import numpy as np
import PIL
from PIL import Image

warnings.simplefilter("ignore")

# Why Thaw reads a file that Pillow refuses: the file's name, what Pillow says, and the reason.
# "same": the pixels are those of the whole file.
ACCEPTED = [
    ("*.jpg", "*", "same", "all coded pixels are there, what is wrong stands behind them"),
    ("bits.p1.pnm", "*Invalid token*", "same", "it stands behind the last pixel"),
    ("*.bmp", "*bitfields layout*", "", "any masks are read, Pillow knows a list of them"),
    ("*16.psd", "*cannot identify*", "", "16 bits a channel, of which Pillow reads none"),
    ("big.tif", "*", "", "BigTIFF, of which Pillow reads none"),
    ("*.tif", "*cannot identify*", "", "Pillow knows a list of kinds: of bits, samples and colours"),
    ("*.tif", "*decoder error*", "", "older versions of libtiff leave out the checksum of a strip"),
]
# Formats that a build may lack; those that Pillow does not know, or whose chroma it interpolates in another way.
OPTIONAL = {".webp": "WebP", ".tif": "TIFF", ".avif": "AVIF", ".heic": "HEIC", ".dcm": "DICOM"}
UNKNOWN = {".avif", ".heic", ".dcm"}
# Other pixels than Pillow's, and why.
OTHER = {
    "exif5_long.jpg, byte 15 ^ 0x1": "no TIFF begins like that, Pillow takes it for one",
    **{f"{name}, byte 1110 ^ {change}": "a sample that is not known is no alpha"
       for name in ("rgb8_more.tif", "rgba8_premultiplied.tif") for change in ("0x80", "0xff")},
}


def mutants(data):
    """Headers decide most: of what follows them each fifth byte is changed, and the end."""
    yield "whole", data
    places = [i for i in range(len(data)) if i < 300 or i % 5 == 0 or i + 30 > len(data)]
    for n in places:
        yield f"cut to {n}", data[:n]
    for i in places:
        for change in (0x01, 0x80, 0xFF):
            yield f"byte {i} ^ {change:#x}", data[:i] + bytes([data[i] ^ change]) + data[i + 1 :]


def pillow(reads, data):
    try:
        return reads(data)
    except Exception as error:
        return error


def thaw(program, cases, fast=False):
    """cases: bytes and the size that Pillow says. Their statuses and pixels."""
    request = b"".join(struct.pack("=IIII", len(data), w, h, fast) + data for data, w, h in cases)
    answer = subprocess.run([program], input=request, capture_output=True, check=True).stdout
    at = 0
    for _, w, h in cases:
        (status,) = struct.unpack_from("=i", answer, at)
        n = 3 * w * h if status == 0 else 0
        yield status, np.frombuffer(answer, np.uint8, n, at + 4).reshape(-1, w, 3) if n else None
        at += 4 + n
    assert at == len(answer)


def differ(name, ours, theirs):
    """JPEG: another version of the library may round otherwise."""
    apart = np.abs(ours.astype(int) - theirs.astype(int)).max()
    return apart > (1 if name.endswith(".jpg") else 0)


def judge(name, what, ours, theirs, whole):
    """None, or what is wrong with a file that Thaw reads."""
    if isinstance(theirs, np.ndarray):
        if differ(name, ours, theirs) and f"{name}, {what}" not in OTHER:
            return "other pixels than Pillow's"
        return None
    for pattern, says, condition, _ in ACCEPTED:
        if fnmatch(name, pattern) and fnmatch(repr(theirs), says):
            return None if not condition or not differ(name, ours, whole) else "other pixels than whole"
    return f"Pillow refuses it: {theirs!r}"


def check(program, reads, name, data, whole):
    names, files = zip(*mutants(data))
    end = b"\xff\xd9" if name == "no_end.jpg" else b""  # Without it Pillow reads none of them.
    theirs = [pillow(reads, file + end) for file in files]
    sizes = [(t if isinstance(t, np.ndarray) else whole).shape[1::-1] for t in theirs]
    answers = list(thaw(program, [(file, *size) for file, size in zip(files, sizes)]))
    wrong = [] if answers[0][0] == 0 else [f"{name}: refused"]
    for what, t, (status, ours) in zip(names, theirs, answers):
        problem = judge(name, what, ours, t, whole) if status == 0 else None
        if problem:
            wrong.append(f"{name}, {what}: {problem}")
    return len(files), sum(status == 0 for status, _ in answers), wrong


def check_fast(program):
    """Random pictures, sizes and kinds; what is wrong."""
    rng = np.random.default_rng(7)
    wrong, shrunk = [], 0
    for i in range(60):
        w, h = (int(v) for v in rng.integers(60, 700, 2))
        mode = ("RGB", "RGB", "L", "CMYK")[i % 4]
        small = rng.integers(0, 256, (9, 11, {"RGB": 3, "L": 1, "CMYK": 4}[mode])).astype(np.uint8)
        image = Image.fromarray(small[:, :, 0] if mode == "L" else small, mode).resize((w, h), Image.BICUBIC)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=int(rng.integers(60, 96)), progressive=bool(i % 3 == 0),
                   **({} if mode != "RGB" else {"subsampling": int(rng.integers(0, 3))}))
        size = tuple(int(v) for v in rng.integers(8, 60, 2))
        theirs = Image.open(io.BytesIO(out.getvalue()))
        box = theirs.draft(None, (2 * size[0], 2 * size[1]))
        shrunk += theirs.size != (w, h)
        box = box[1] if box else (0, 0, w, h)
        theirs = np.asarray(theirs.convert("RGB").resize(size, Image.BILINEAR, box)).astype(int)
        ((status, ours),) = thaw(program, [(out.getvalue(), *size)], True)
        apart = np.abs(ours.astype(int) - theirs).max() if status == 0 else status
        if not 0 <= apart <= 2:
            wrong.append(f"fast, {mode} {w} x {h} to {size}: {apart} levels apart")
    print(f"60 JPEGs decoded fast, {shrunk} of them at a fraction of their size, {len(wrong)} wrong")
    return wrong if shrunk > 30 else wrong + ["too few were large enough"]


def main():
    program, source = sys.argv[1:]
    if int(PIL.__version__.split(".")[0]) < 12:
        print(f"SKIPPED: Pillow {PIL.__version__} turns fewer pictures than Pillow 12 and this test")
        sys.exit(77)
    sys.path.insert(0, os.path.join(source, "tests", "data"))
    from make_tiny_pictures import OUT, pillow_reads

    n = accepted = 0
    wrong = check_fast(program)
    answer = subprocess.run([program, *OPTIONAL.values()], capture_output=True, check=True, text=True)
    formats = answer.stdout.split()
    for name in sorted(os.listdir(OUT)):
        ending = os.path.splitext(name)[1]
        if name.endswith(".full.png") or ending in UNKNOWN:
            continue
        if ending in OPTIONAL and OPTIONAL[ending] not in formats:
            print(f"SKIPPED: {name}, which this build does not read")
            continue
        with open(os.path.join(OUT, name), "rb") as file:
            data = file.read()
        with open(os.path.join(OUT, name + ".full.png"), "rb") as file:
            whole = pillow_reads(file.read())
        of_this, read, bad = check(program, pillow_reads, name, data, whole)
        n, accepted, wrong = n + of_this, accepted + read, wrong + bad
    print(*wrong[:50], f"{n} files, {accepted} of them read, {len(wrong)} wrong", sep="\n")
    sys.exit(1 if wrong or not accepted else 0)


if __name__ == "__main__":
    main()

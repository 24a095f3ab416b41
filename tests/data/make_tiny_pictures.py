"""Makes tests/data/image/tiny: a picture of each kind that is read, a few hundred bytes each, and
beside it NAME.full.png, what Pillow makes of it.

Run it from anywhere with Pillow, pillow-heif and NumPy; the results are committed. The files are written
here byte by byte where Pillow writes no such kind. tests/test_image_damage.c cuts and flips them, and
tests/peer/test_pictures.py does the same beside Pillow.
"""
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "image", "tiny")
WIDTH, HEIGHT = 19, 13


# ---- what Pillow makes of it ------------------------------------------------------------------------


def pillow_reads(data):
    """u8 [height, width, 3], turned as EXIF says, transparent parts on white; raises where Pillow
    refuses. Where Pillow's way to RGB loses the picture, what is right is said here:
    grey of 16 bits is cut off at 255 by convert(), which makes it white."""
    image = Image.open(io.BytesIO(data))
    image.load()
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:
        pass  # EXIF that is damaged turns nothing.
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if image.mode == "I":  # PNM.
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, 2)
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


# ---- pixels -----------------------------------------------------------------------------------------


def colours(width=WIDTH, height=HEIGHT, channels=3, most=255):
    """Ramps, and an edge: no row and no column is like another."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [x / width, y / height, (x + 2 * y) / (width + 2 * height), (x * y) / (width * height)]
    planes[2] = np.where(x > 2 * y, 1 - planes[2], planes[2])
    return np.rint(np.stack(planes[:channels], -1) * most).astype(np.uint32)


def indices(n, width=WIDTH, height=HEIGHT):
    y, x = np.mgrid[0:height, 0:width]
    return ((x + 3 * y + (x > y)) % n).astype(np.uint32)


def palette(n):
    return [(i * 255 // max(n - 1, 1), (i * 89 + 40) % 256, 255 - i * 200 // n) for i in range(n)]


def pack(samples, bits):
    """Rows of samples to rows of bytes, the first sample in the highest bits."""
    rows = []
    for row in samples.reshape(samples.shape[0], -1):
        text = "".join(format(int(s), f"0{bits}b") for s in row)
        text += "0" * (-len(text) % 8)
        rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
    return rows


# ---- PNG --------------------------------------------------------------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_rows(samples, bits, channels):
    """Filtered: none and `up` take turns."""
    before, out = None, b""
    for y, row in enumerate(pack(samples, bits)):
        if y % 2 and before is not None:
            out += b"\2" + bytes((a - b) % 256 for a, b in zip(row, before))
        else:
            out += b"\0" + row
        before = row
    return out


def png(samples, bits, kind, more=b"", interlaced=False, idat=10**6):
    height, width = samples.shape[:2]
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    raw = b""
    if interlaced:
        for x, y, dx, dy in [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                             (1, 0, 2, 2), (0, 1, 1, 2)]:
            part = samples[y::dy, x::dx]
            raw += png_rows(part, bits, channels) if part.size else b""
    else:
        raw = png_rows(samples, bits, channels)
    data = zlib.compress(raw, 9)
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    parts = [data[i : i + idat] for i in range(0, len(data), idat)]
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more
            + b"".join(chunk(b"IDAT", part) for part in parts) + chunk(b"IEND", b""))


def png_palette(n, alpha=None):
    data = chunk(b"PLTE", bytes(v for colour in palette(n) for v in colour))
    return data + (chunk(b"tRNS", bytes(alpha)) if alpha else b"")


def make_pngs():
    for bits in (1, 2, 4, 8, 16):
        grey = colours(channels=1, most=2**bits - 1)
        yield f"grey{bits}.png", png(grey, bits, 0)
    yield "grey4i.png", png(colours(channels=1, most=15), 4, 0, interlaced=True)
    for bits in (1, 2, 4, 8):
        yield f"palette{bits}.png", png(indices(2**bits if bits < 8 else 33), bits, 3,
                                        png_palette(2**bits if bits < 8 else 33))
    yield "palette4_alpha.png", png(indices(16), 4, 3, png_palette(16, [0, 100, 200]))
    yield "palette2i.png", png(indices(4), 2, 3, png_palette(4), True)
    for bits in (8, 16):
        most = 2**bits - 1
        yield f"rgb{bits}.png", png(colours(most=most), bits, 2, idat=100)
        yield f"rgba{bits}.png", png(colours(channels=4, most=most), bits, 6)
        yield f"grey_alpha{bits}.png", png(colours(channels=2, most=most), bits, 4)
    yield "rgba8i.png", png(colours(channels=4), 8, 6, interlaced=True)
    yield "rgb16i.png", png(colours(most=65535), 16, 2, interlaced=True)
    grey = colours(channels=1)
    yield "grey8_clear.png", png(grey, 8, 0, chunk(b"tRNS", struct.pack(">H", int(grey[3, 4, 0]))))
    rgb = colours()
    yield "rgb8_clear.png", png(rgb, 8, 2, chunk(b"tRNS", struct.pack(">3H", *map(int, rgb[3, 4]))))
    yield "gamma.png", png(rgb, 8, 2, chunk(b"gAMA", struct.pack(">I", 220000)) + chunk(b"sRGB", b"\0"))
    yield "line.png", png(colours(WIDTH, 1), 8, 2, interlaced=True)
    yield "exif6.png", png(rgb, 8, 2, chunk(b"eXIf", exif(6)[6:]))
    comment = chunk(b"iTXt", b"Comment\0\0\0\0\0none")
    yield "xmp8.png", png(rgb, 8, 2, comment + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(8)))
    text = b"\nexif\n%8d\n" % len(exif(7)) + exif(7).hex().encode() + b"\n"
    yield "magick7.png", png(rgb, 8, 2, chunk(b"tEXt", b"Raw profile type exif\0" + text))
    yield "magick7z.png", png(rgb, 8, 2, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))


# ---- JPEG -------------------------------------------------------------------------------------------


def exif(orientation, order="<", kind=3, count=1):
    value = struct.pack(order + {3: "H", 4: "I"}[kind], orientation).ljust(4, b"\0")
    more = b""
    if count * {3: 2, 4: 4}[kind] > 4:  # It stands elsewhere.
        value, more = struct.pack(order + "I", 26), value * count
    head = b"II*\0" if order == "<" else b"MM\0*"
    return (b"Exif\0\0" + head + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, count) + value
            + struct.pack(order + "I", 0) + more)


def xmp(orientation):
    return b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def with_marker(jpeg, data, marker=0xE1):
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + jpeg[2:]


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", quality=75, optimize=True, **options)
    return out.getvalue()


def make_jpegs():
    rgb = Image.fromarray(colours().astype(np.uint8))
    cmyk = jpeg(Image.fromarray(colours(channels=4).astype(np.uint8), "CMYK"))
    adobe = cmyk.index(b"\xff\xee")
    plain = jpeg(rgb, subsampling=2)
    yield "420.jpg", plain
    yield "422.jpg", jpeg(rgb, subsampling=1)
    yield "444.jpg", jpeg(rgb, subsampling=0)
    yield "grey.jpg", jpeg(rgb.convert("L"))
    yield "progressive.jpg", jpeg(rgb, progressive=True)
    yield "restarts.jpg", jpeg(rgb, subsampling=0, restart_marker_blocks=1)
    yield "cmyk_adobe.jpg", cmyk
    yield "cmyk.jpg", cmyk[:adobe] + cmyk[adobe + 2 + struct.unpack(">H", cmyk[adobe + 2 : adobe + 4])[0] :]
    yield "no_end.jpg", plain[:-2]
    yield "junk_for_end.jpg", plain[:-2] + bytes(range(40, 80))
    yield "exif5_long.jpg", with_marker(plain, exif(5, ">", 4))
    yield "exif3_far.jpg", with_marker(plain, exif(3, "<", 3, 3))
    yield "xmp6.jpg", with_marker(plain, b"http://ns.adobe.com/xap/1.0/\0" + xmp(6))


# ---- PNM --------------------------------------------------------------------------------------------


def make_pnms():
    def header(kind, *numbers):
        return b"P%d\n# %d\n%d %d\n" % (kind, kind, WIDTH, HEIGHT) + b"".join(b"%d\n" % n for n in numbers)

    def text(samples):
        return b"\n".join(b" ".join(b"%d" % s for s in row) for row in samples.reshape(HEIGHT, -1)) + b"\n"

    bits = indices(2)
    yield "bits.p1.pnm", header(1) + text(bits)
    yield "bits.p4.pnm", header(4) + b"".join(pack(bits, 1))
    for most in (1, 15, 255, 300, 65535):
        grey, rgb = colours(channels=1, most=most), colours(most=most)
        size = 16 if most > 255 else 8
        yield f"grey{most}.p5.pnm", header(5, most) + b"".join(pack(grey, size))
        if most in (15, 300):
            yield f"grey{most}.p2.pnm", header(2, most) + text(grey)
        if most in (100, 255, 300):
            yield f"rgb{most}.p6.pnm", header(6, most) + b"".join(pack(rgb, size))
    yield "rgb100.p3.pnm", header(3, 100) + b"# here, too\n" + text(colours(most=100))


# ---- BMP --------------------------------------------------------------------------------------------


def bmp(rows, bits, table=b"", size=40, compression=0, masks=(), from_above=False, used=0):
    rows = [row + bytes(-len(row) % 4) for row in rows]
    pixels = b"".join(rows if from_above else rows[::-1])
    if size == 12:
        header = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        height = -HEIGHT if from_above else HEIGHT
        header = struct.pack("<IiiHHIIiiII", size, WIDTH, height, 1, bits, compression, len(pixels), 2835,
                             2835, used, 0)
        header = (header + b"".join(struct.pack("<I", m) for m in masks)).ljust(size, b"\0")
    start = 14 + len(header) + len(table)
    return struct.pack("<2sIII", b"BM", start + len(pixels), 0, start) + header + table + pixels


def bmp_palette(n, last=b"\0"):
    return b"".join(bytes(colour[::-1]) + last for colour in palette(n))


def make_bmps():
    for bits in (1, 4, 8):
        n = 2**bits if bits < 8 else 40
        yield f"palette{bits}.bmp", bmp(pack(indices(n), bits), bits, bmp_palette(n), used=n)
    yield "os2.bmp", bmp(pack(indices(16), 4), 4, bmp_palette(16, b""), 12)
    c = colours(channels=4)
    five = (c[:, :, 0] >> 3) << 10 | (c[:, :, 1] >> 3) << 5 | c[:, :, 2] >> 3
    six = (c[:, :, 0] >> 3) << 11 | (c[:, :, 1] >> 2) << 5 | c[:, :, 2] >> 3
    rgba = c[:, :, 3] << 24 | c[:, :, 0] << 16 | c[:, :, 1] << 8 | c[:, :, 2]
    rows = lambda values, kind: [np.ascontiguousarray(row).astype(kind).tobytes() for row in values]
    bgr = [row[:, 2::-1].astype(np.uint8).tobytes() for row in c]
    yield "555.bmp", bmp(rows(five, "<u2"), 16)
    yield "565.bmp", bmp(rows(six, "<u2"), 16, size=52, compression=3, masks=(0xF800, 0x7E0, 0x1F))
    yield "24.bmp", bmp(bgr, 24)
    yield "24_from_above.bmp", bmp(bgr, 24, from_above=True)
    yield "32.bmp", bmp(rows(rgba, "<u4"), 32)
    yield "32_alpha.bmp", bmp(rows(rgba, "<u4"), 32, size=108, compression=3,
                              masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000))


# ---- GIF --------------------------------------------------------------------------------------------


def lzw(pixels, bits, empty=True):
    """Blocks of codes. A full table is emptied, or goes on as it is."""
    clear, codes = 1 << bits, []
    table, size, word = {}, bits + 1, ()

    def reset():
        nonlocal table, size
        codes.append((clear, size))
        table, size = {(i,): i for i in range(clear)}, bits + 1

    reset()
    for pixel in pixels:
        if word + (pixel,) in table:
            word += (pixel,)
            continue
        codes.append((table[word], size))
        if len(table) + 2 < 4096:
            table[word + (pixel,)] = len(table) + 2
            size = min(12, (len(table) + 1).bit_length())
        elif empty:
            reset()
        word = (pixel,)
    codes += [(table[word], size), (clear + 1, size)]
    value = n = 0
    for code, code_size in codes:
        value |= code << n
        n += code_size
    data = value.to_bytes((n + 7) // 8, "little")
    blocks = [data[i : i + 200] for i in range(0, len(data), 200)]
    return b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def gif(pixels, bits, at=(0, 0), screen=None, transparent=None, interlaced=False, local=False, colours=True, empty=True):
    height, width = pixels.shape
    table = bytes(v for colour in palette(1 << bits) for v in colour) if colours else b""
    flags = 0x80 | bits - 1 if colours else 0
    out = b"GIF89a" + struct.pack("<HHBBB", *(screen or (width, height)), 0 if local else flags, 0, 0)
    out += b"" if local else table
    out += b"\x21\xfe\4tiny\0"
    if transparent is not None:
        out += struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1, 0, transparent, 0)
    out += struct.pack("<BHHHHB", 0x2C, *at, width, height, (flags if local else 0) | 0x40 * interlaced)
    out += table if local else b""
    if interlaced:
        pixels = np.concatenate([pixels[first::step] for first, step in ((0, 8), (4, 8), (2, 4), (1, 2))])
    return out + bytes([max(bits, 2)]) + lzw([int(p) for p in pixels.reshape(-1)], max(bits, 2), empty) + b";"


def make_gifs():
    yield "1.gif", gif(indices(2), 1)
    yield "4.gif", gif(indices(16), 4, transparent=3)
    yield "4i.gif", gif(indices(16), 4, interlaced=True, local=True)
    yield "5_aside.gif", gif(indices(32), 5, (2, 3), (WIDTH + 4, HEIGHT + 5))
    yield "3_aside.gif", gif(indices(8), 3, (1, 2), (WIDTH + 4, HEIGHT), transparent=5)
    yield "grey.gif", gif(indices(200), 8, colours=False)
    rng = np.random.default_rng(1)
    yield "long.gif", gif(rng.integers(0, 256, (66, 66)), 8)  # The table fills up,
    yield "full.gif", gif(rng.integers(0, 256, (66, 66)), 8, empty=False)  # and stays full.


# ---- PSD --------------------------------------------------------------------------------------------


def packbits(row):
    out, i = b"", 0
    while i < len(row):
        run = 1
        while i + run < len(row) and row[i + run] == row[i] and run < 128:
            run += 1
        if run > 1:
            out += bytes([257 - run, row[i]])
            i += run
            continue
        end = i + 1
        while end < len(row) and end - i < 128 and (end + 1 == len(row) or row[end] != row[end + 1]):
            end += 1
        out += bytes([end - i - 1]) + row[i:end]
        i = end
    return out


def psd(channels, bits, packed):
    samples = colours(channels=channels, most=2**bits - 1) if channels < 5 else None
    planes = [b for c in range(channels) for b in pack(samples[:, :, c], bits)]
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, HEIGHT, WIDTH, bits, 3)
    header += struct.pack(">III", 0, 0, 0) + struct.pack(">H", int(packed))
    if not packed:
        return header + b"".join(planes)
    rows = [packbits(row) for row in planes]
    return header + b"".join(struct.pack(">H", len(row)) for row in rows) + b"".join(rows)


def make_psds():
    yield "raw.psd", psd(3, 8, False)
    yield "packed.psd", psd(3, 8, True)
    yield "alpha.psd", psd(4, 8, True)
    yield "raw16.psd", psd(3, 16, False)
    yield "packed16.psd", psd(3, 16, True)


# ---- WebP -------------------------------------------------------------------------------------------


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def riff(chunks):
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def riff_chunks(webp):
    at = 12
    while at < len(webp):
        (n,) = struct.unpack_from("<I", webp, at + 4)
        yield webp[at : at + 4], webp[at + 8 : at + 8 + n]
        at += 8 + n + n % 2


def make_webps():
    rgb, rgba = Image.fromarray(colours().astype(np.uint8)), Image.fromarray(colours(channels=4).astype(np.uint8))
    lossy = saved(rgb, "WEBP", quality=60)
    yield "lossy.webp", lossy
    yield "lossless.webp", saved(rgb, "WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(rgba, "WEBP", quality=60)
    yield "lossless_alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "exif6.webp", saved(rgb, "WEBP", quality=60, exif=exif(6))
    flags = struct.pack("<I", 4) + struct.pack("<I", WIDTH - 1)[:3] + struct.pack("<I", HEIGHT - 1)[:3]
    yield "xmp8.webp", riff([(b"VP8X", flags), *riff_chunks(lossy), (b"XMP ", xmp(8))])
    frames = saved(rgb, "WEBP", quality=60, save_all=True, duration=100,
                   append_images=[Image.fromarray(255 - colours().astype(np.uint8))])
    yield "animated.webp", frames
    # The first picture of an animation beside the corner of its canvas.
    size = struct.pack("<I", WIDTH + 5)[:3] + struct.pack("<I", HEIGHT + 3)[:3]
    frame = struct.pack("<I", 2)[:3] + struct.pack("<I", 1)[:3] + flags[4:] + struct.pack("<I", 100)[:3] + b"\0"
    yield "aside.webp", riff([(b"VP8X", struct.pack("<I", 0x12) + size), (b"ANIM", bytes(6)),
                              (b"ANMF", frame + riff(riff_chunks(lossy))[12:])])


# ---- TIFF -------------------------------------------------------------------------------------------


def lzw_tiff(data):
    """Codes of 9 bits alone: the table is emptied before they get longer."""
    codes = []
    for i, byte in enumerate(data):
        codes += ([256] if i % 200 == 0 else []) + [byte]
    text = "".join(format(code, "09b") for code in codes + [257])
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def tiff(samples, bits, photometric, order="<", compression=1, rows=5, tile=None, planes=False, orientation=1,
         extra=None, floats=False, signed=False, table=None, big=False):
    """samples: [height, width, channels]."""
    kind = np.dtype(order + {8: "u1", 16: "u2", 32: "f4" if floats else "u4"}.get(bits, "u1"))
    height, width, channels = samples.shape
    squeeze = {1: bytes, 5: lzw_tiff, 8: zlib.compress,
               32773: lambda b: b"".join(packbits(b[i : i + 100]) for i in range(0, len(b), 100))}

    def coded(part):
        if bits < 8:
            return squeeze[compression](b"".join(pack(part, bits)))
        return squeeze[compression](np.ascontiguousarray(part).astype(kind).tobytes())

    blocks = []
    for plane in (range(channels) if planes else [None]):
        part = samples if plane is None else samples[:, :, plane : plane + 1]
        if tile:
            for y in range(0, height, tile):
                for x in range(0, width, tile):
                    block = part[y : y + tile, x : x + tile]
                    block = np.pad(block, ((0, tile - block.shape[0]), (0, tile - block.shape[1]), (0, 0)))
                    blocks.append(coded(block))
        else:
            blocks += [coded(part[y : y + rows]) for y in range(0, height, rows)]
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [bits] * channels), 259: (3, [compression]),
            262: (3, [photometric]), 274: (3, [orientation]), 277: (3, [channels]), 284: (3, [2 if planes else 1])}
    tags |= {322: (4, [tile]), 323: (4, [tile])} if tile else {278: (4, [rows])}
    if extra is not None:
        tags[338] = (3, [extra])
    if floats or signed:
        tags[339] = (3, [3 if floats else 2] * channels)
    if table:
        tags[320] = (3, [colour[c] * 257 for c in range(3) for colour in table])
    start = 16 if big else 8
    at, where = start, []
    for block in blocks:
        where.append(at)
        at += len(block)
    tags[324 if tile else 273] = (4, where)
    tags[325 if tile else 279] = (4, [len(block) for block in blocks])
    room, number = (8, "Q") if big else (4, "I")
    head = b"II" if order == "<" else b"MM"
    entries = more = b""
    directory = at + at % 2
    behind = directory + (8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4)
    for tag, (type_, values) in sorted(tags.items()):
        value = b"".join(struct.pack(order + {3: "H", 4: "I"}[type_], v) for v in values)
        if len(value) > room:
            entry = struct.pack(order + number, behind + len(more))
            more += value
        else:
            entry = value.ljust(room, b"\0")
        entries += struct.pack(order + "HH" + number, tag, type_, len(values)) + entry
    first = (struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory))
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    return head + first + b"".join(blocks) + b"\0" * (at % 2) + count + entries + bytes(8 if big else 4) + more


def make_tiffs():
    grey, rgb, rgba = colours(channels=1), colours(), colours(channels=4)
    yield "grey8.tif", tiff(grey, 8, 1)
    yield "grey8_white.tif", tiff(grey, 8, 0, ">")
    yield "grey_alpha8.tif", tiff(colours(channels=2), 8, 1, extra=2)
    yield "bits.tif", tiff(indices(2)[:, :, None], 1, 1)
    yield "bits_fax.tif", saved(Image.fromarray(indices(2).astype(bool)), "TIFF", compression="group4")
    yield "palette8.tif", tiff(indices(256)[:, :, None], 8, 3, table=palette(256))
    yield "palette4.tif", tiff(indices(16)[:, :, None], 4, 3, table=palette(16))
    yield "rgb8.tif", tiff(rgb, 8, 2, ">", 8)
    yield "rgb8_lzw.tif", tiff(rgb, 8, 2, "<", 5)
    yield "rgb8_packed.tif", tiff(rgb, 8, 2, "<", 32773)
    yield "rgb8_tiles.tif", tiff(rgb, 8, 2, "<", 8, tile=16)
    yield "rgb8_planes.tif", tiff(rgb, 8, 2, planes=True)
    yield "rgb8_tile_planes.tif", tiff(rgb, 8, 2, tile=16, planes=True)
    yield "rgba8.tif", tiff(rgba, 8, 2, extra=2)
    premultiplied = rgba.copy()
    premultiplied[:, :, :3] = rgba[:, :, :3] * rgba[:, :, 3:] // 255
    yield "rgba8_premultiplied.tif", tiff(premultiplied, 8, 2, extra=1)
    yield "rgb8_more.tif", tiff(rgba, 8, 2, extra=0)
    yield "cmyk8.tif", tiff(rgba, 8, 5)
    yield "turned6.tif", tiff(rgb, 8, 2, orientation=6)
    yield "big.tif", tiff(rgb, 8, 2, big=True)
    yield "grey16.tif", tiff(colours(channels=1, most=65535), 16, 1, ">")
    yield "rgb16.tif", tiff(colours(most=65535), 16, 2)
    image = Image.fromarray(rgb.astype(np.uint8))
    yield "jpeg.tif", saved(image, "TIFF", compression="jpeg", quality=75)
    pages = [image, Image.fromarray(255 - rgb.astype(np.uint8))]
    yield "pages.tif", saved(pages[0], "TIFF", save_all=True, append_images=pages[1:], compression="tiff_lzw")


# ---- HEIC, AVIF -------------------------------------------------------------------------------------


def make_heifs():
    """Larger than the others: so small pictures are coded in no way that cameras use."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    smooth = Image.fromarray(colours(64, 48).astype(np.uint8))
    yield "grey.heic", saved(smooth.convert("L"), "HEIF", quality=50)
    yield "420.heic", saved(smooth, "HEIF", quality=50, chroma="420")
    yield "alpha.heic", saved(Image.fromarray(colours(64, 48, 4).astype(np.uint8)), "HEIF", quality=50)
    yield "420.avif", saved(smooth, "AVIF", quality=50, subsampling="4:2:0")
    yield "alpha.avif", saved(Image.fromarray(colours(64, 48, 4).astype(np.uint8)), "AVIF", quality=50)
    yield "turned6.avif", saved(smooth, "AVIF", quality=50, exif=exif(6))


# ---- DICOM ------------------------------------------------------------------------------------------


def dicom_element(group, element, kind, value):
    value = value.encode() if isinstance(value, str) else value
    value += (b"\0" if kind in ("UI", "OB", "OW") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", group, element, kind.encode())
    if kind in ("OB", "OW"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def dicom(samples, stored, photometric, signed=False, more=b"", coded=None, syntax="1.2.840.10008.1.2.1"):
    """samples: [height, width, channels]; coded: the frame of another syntax."""
    height, width, channels = samples.shape
    bits = 8 if stored <= 8 else 16
    short = lambda element, n: dicom_element(0x28, element, "US", struct.pack("<H", n))
    meta = (dicom_element(2, 1, "OB", b"\0\1") + dicom_element(2, 2, "UI", "1.2.840.10008.5.1.4.1.1.7")
            + dicom_element(2, 3, "UI", "1.2.3.4") + dicom_element(2, 0x10, "UI", syntax)
            + dicom_element(2, 0x12, "UI", "1.2.3"))
    meta = dicom_element(2, 0, "UL", struct.pack("<I", len(meta))) + meta
    shape = short(2, channels) + dicom_element(0x28, 4, "CS", photometric)
    shape += short(6, 0) if channels > 1 else b""
    shape += short(0x10, height) + short(0x11, width) + short(0x100, bits) + short(0x101, stored)
    shape += short(0x102, stored - 1) + short(0x103, int(signed)) + more
    if coded is None:
        kind = "OB" if bits == 8 else "OW"
        raw = samples.astype("<i2" if signed else "<u2" if bits == 16 else "u1").tobytes()
        pixels = dicom_element(0x7FE0, 0x10, kind, raw)
    else:
        coded += b"\0" * (len(coded) % 2)
        pixels = (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
                  + struct.pack("<HHI", 0xFFFE, 0xE000, len(coded)) + coded + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    return bytes(128) + b"DICM" + meta + dicom_element(8, 0x16, "UI", "1.2.840.10008.5.1.4.1.1.7") + shape + pixels


def dicom_run_lengths(samples):
    """A segment a byte of the sample, the upper first."""
    planes = [samples[:, :, c] for c in range(samples.shape[2])]
    segments = [b"".join(packbits(row.astype(np.uint8).tobytes()) for row in plane) for plane in planes]
    segments = [s + b"\0" * (len(s) % 2) for s in segments]
    offsets = [64 + sum(map(len, segments[:i])) for i in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets))) + b"".join(segments)


def shades(values, low, high):
    """What a window of DICOM makes of grey."""
    return np.repeat(np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255), 3, 2).astype(np.uint8)


def make_dicoms():
    """And what is right, which Pillow does not know."""
    grey, rgb = colours(channels=1), colours()
    deep = colours(channels=1, most=4000)
    text = lambda element, value: dicom_element(0x28, element, "DS", value)
    eight = np.repeat(grey, 3, 2).astype(np.uint8)
    yield "grey8.dcm", dicom(grey, 8, "MONOCHROME2"), eight
    yield "grey8_white.dcm", dicom(grey, 8, "MONOCHROME1"), 255 - eight
    yield "rgb8.dcm", dicom(rgb, 8, "RGB"), rgb.astype(np.uint8)
    yield "grey12.dcm", dicom(deep, 12, "MONOCHROME2"), shades(deep, deep.min(), deep.max())
    window = text(0x1050, "100") + text(0x1051, "801") + text(0x1052, "-1024") + text(0x1053, "1")
    yield "hounsfield.dcm", dicom(deep, 12, "MONOCHROME2", more=window), shades(deep.astype(int) - 1024, -300.5, 499.5)
    yield "runs8.dcm", dicom(rgb, 8, "RGB", coded=dicom_run_lengths(rgb), syntax="1.2.840.10008.1.2.5"), rgb.astype(np.uint8)
    coded = jpeg(Image.fromarray(grey[:, :, 0].astype(np.uint8)))
    yield ("jpeg8.dcm", dicom(grey, 8, "MONOCHROME2", coded=coded, syntax="1.2.840.10008.1.2.4.50"),
           pillow_reads(coded))


# ---- the whole --------------------------------------------------------------------------------------

# Kinds that Pillow refuses, and another file that holds the same pixels.
SAME_AS = {"raw16.psd": "rgb16.png", "packed16.psd": "rgb16.png", "no_end.jpg": "420.jpg", "big.tif": "rgb8.tif"}


def make_deep():
    """For tests of windows: what Pillow makes something else of. They lie beside the tiny ones."""
    deep = colours(channels=1, most=65535)
    yield "float32.tif", tiff(deep, 32, 1, floats=True)
    yield "white16.tif", tiff(deep, 16, 0)
    yield "signed16.tif", tiff((deep.astype(int) - 30000) & 0xFFFF, 16, 1, ">", signed=True)


def main():
    for name, data in make_deep():
        with open(os.path.join(OUT, "..", name), "wb") as file:
            file.write(data)
    os.makedirs(OUT, exist_ok=True)
    for old in os.listdir(OUT):
        os.remove(os.path.join(OUT, old))
    files = {}
    for make in (make_pngs, make_jpegs, make_pnms, make_bmps, make_gifs, make_psds, make_webps, make_tiffs,
                 make_heifs):
        files.update(make())
    right = {}
    for name, data, pixels in make_dicoms():
        files[name], right[name] = data, pixels
    for name, data in files.items():
        with open(os.path.join(OUT, name), "wb") as file:
            file.write(data)
        pixels = right[name] if name in right else pillow_reads(files[SAME_AS.get(name, name)])
        Image.fromarray(pixels).save(os.path.join(OUT, name + ".full.png"), optimize=True)
    print(f"{len(files)} pictures, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()

"""Makes tests/data/image: small pictures and what Pillow makes of them.

Run it from anywhere with Pillow and NumPy; the results are committed. Each NAME.{jpg,png,...} has
references NAME.WxH.FIT.FILTER.png (fit: crop or squash) and NAME.full.png (the decoded picture).
"""
import os

import numpy as np
from PIL import Image, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "image")
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def picture(width, height, seed):
    """Smooth colour fields with edges and a little noise: what a resize gets wrong shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    channels = []
    for c in range(3):
        a, b, d, e = rng.uniform(2, 9, 4)
        wave = np.sin(a * x * 6 + c) * np.cos(b * y * 6) + 0.6 * (np.sin(d * 20 * (x - y) + e) > 0.4)
        channels.append(127 + 80 * wave + rng.normal(0, 4, wave.shape))
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def resize(image, width, height, fit, pil_filter, shorter):
    """torchvision's Resize(shorter) + CenterCrop, or both sides at once."""
    if fit == "squash":
        return image.resize((width, height), pil_filter)
    w, h = image.size
    short = max(shorter, width, height)
    size = (short, int(short * h / w)) if w <= h else (int(short * w / h), short)
    image = image.resize(size, pil_filter)
    left, top = int(round((size[0] - width) / 2.0)), int(round((size[1] - height) / 2.0))
    return image.crop((left, top, left + width, top + height))


def reference(name, image, width, height, fit, filter_name, shorter=0):
    result = resize(image, width, height, fit, FILTERS[filter_name], shorter)
    result.save(os.path.join(OUT, f"{name}.{width}x{height}.{fit}{shorter}.{filter_name}.png"), optimize=True)


def main():
    os.makedirs(OUT, exist_ok=True)
    path = lambda file: os.path.join(OUT, file)

    # Resizing: shrinking a little, much, by odd ratios; enlarging; one axis each way.
    base = Image.fromarray(picture(150, 101, 1))
    base.save(path("base.png"), optimize=True)
    for width, height, fit, shorter in [(64, 64, "crop", 72), (33, 47, "squash", 0), (97, 97, "crop", 0),
                                        (150, 101, "squash", 0), (9, 7, "squash", 0), (170, 60, "squash", 0)]:
        for name in FILTERS:
            reference("base", base, width, height, fit, name, shorter)

    # JPEG: colour with 4:2:0 and 4:4:4, grey, CMYK (Adobe, inverted), progressive.
    base.save(path("420.jpg"), quality=88, subsampling=2)
    base.save(path("444.jpg"), quality=88, subsampling=0)
    base.save(path("progressive.jpg"), quality=80, progressive=True)
    base.convert("L").save(path("grey.jpg"), quality=88)
    base.convert("CMYK").save(path("cmyk.jpg"), quality=90)
    for name in ["420", "444", "progressive", "grey", "cmyk"]:
        decoded = Image.open(path(name + ".jpg")).convert("RGB")
        decoded.save(path(name + ".full.png"), optimize=True)
        reference(name, decoded, 64, 64, "crop", "bilinear", 72)

    # All eight EXIF orientations.
    small = Image.fromarray(picture(48, 32, 2))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        small.save(path(f"exif{orientation}.jpg"), quality=92, exif=exif)
        shown = ImageOps.exif_transpose(Image.open(path(f"exif{orientation}.jpg"))).convert("RGB")
        reference(f"exif{orientation}", shown, 20, 20, "crop", "bilinear", 22)

    # PNG: alpha on white, palette, grey with alpha, 16 bit, 1 bit; BMP; GIF.
    rgba = np.dstack([picture(40, 30, 3), np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))])
    Image.fromarray(rgba, "RGBA").save(path("alpha.png"), optimize=True)
    white = Image.new("RGBA", (40, 30), (255, 255, 255, 255))
    Image.alpha_composite(white, Image.fromarray(rgba, "RGBA")).convert("RGB").save(path("alpha.full.png"))
    Image.fromarray(picture(40, 30, 4)).quantize(32).save(path("palette.png"), optimize=True)
    Image.open(path("palette.png")).convert("RGB").save(path("palette.full.png"))
    wide = (np.linspace(0, 65535, 40 * 30).reshape(30, 40)).astype(np.uint16)
    Image.fromarray(wide).save(path("grey16.png"))
    Image.fromarray((wide >> 8).astype(np.uint8)).convert("RGB").save(path("grey16.full.png"))
    Image.fromarray(picture(21, 17, 5)).save(path("plain.bmp"))
    Image.open(path("plain.bmp")).convert("RGB").save(path("plain.full.png"))
    Image.fromarray(picture(21, 17, 6)).quantize(16).save(path("still.gif"))
    Image.open(path("still.gif")).convert("RGB").save(path("still.full.png"))


if __name__ == "__main__":
    main()

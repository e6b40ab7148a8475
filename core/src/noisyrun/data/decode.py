"""One encoded image → uint8 [channels, height, width], whatever its format, mode and orientation."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

#: Pixels above which an image is taken for a decompression bomb (Pillow's own bound, which it only warns at).
MAX_PIXELS = 89_478_485

# A bomb is refused before it is decoded, with a message that names it; Pillow's warning would only repeat that.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

#: Formats that images of data sets come in. Pillow knows more, told by content whatever the name says; for one of them,
#: EPS, it would start an interpreter of programs. The usual ones are tried first.
_USUAL = ("JPEG", "PNG", "WEBP")
_RARE = ("AVIF", "BMP", "DDS", "DIB", "GIF", "ICO", "JPEG2000", "MPO", "PCX", "PPM", "QOI", "SGI", "SUN", "TGA", "TIFF")
FORMATS = (*_USUAL, *_RARE)

#: EXIF tag of the orientation.
_ORIENTATION = 0x0112


class BadImage(Exception):
    """An image that cannot be read; the message says why, without its name."""


def _open(stream: BinaryIO) -> Image.Image:
    image = Image.open(stream, formats=_registered())
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImage(f"{width} × {height} pixels are more than {MAX_PIXELS:,}: refused as a decompression bomb")
    return image


@cache
def _registered() -> tuple[str, ...]:
    """Those formats that this Pillow reads."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, BadImage):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels: refused as a decompression bomb"
    if isinstance(error, Image.UnidentifiedImageError):
        return "not an image that Pillow knows"
    return " ".join(str(error).split()) or type(error).__name__


def probe(stream: BinaryIO) -> tuple[int, int, int]:
    """Channels (1 or 3), height and width from the header alone, as `decode` would give them at full size.

    Raises
    ------
    BadImage
        When the header cannot be read.
    """
    try:
        with _open(stream) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) >= 5:
                width, height = height, width
            grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
            return (1 if grey else 3), height, width
    except MemoryError:
        raise
    except Exception as error:  # Pillow's plugins raise whatever the broken bytes lead to
        raise BadImage(_reason(error)) from error


def plain_jpeg(stream: BinaryIO) -> bool:
    """Whether bytes are a JPEG of three colours that is not turned, by its header.

    Raises
    ------
    BadImage
        When the header cannot be read, or promises too many pixels.
    """
    try:
        with _open(stream) as image:
            return image.format == "JPEG" and image.mode == "RGB" and image.getexif().get(_ORIENTATION, 1) == 1
    except MemoryError:
        raise
    except Exception as error:
        raise BadImage(_reason(error)) from error


def decode(stream: BinaryIO, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """Decode an image and bring it to one size.

    Orientation from EXIF is applied; what is transparent becomes white; 16-bit greys are scaled to 8 bits.

    Parameters
    ----------
    channels
        1: grey; 3: RGB.
    size
        Height and width. An image of another size is resized until it covers them, then cut at the centre.
        None leaves it as it is.

    Returns
    -------
    numpy.ndarray
        uint8 [channels, height, width].

    Raises
    ------
    BadImage
        When the image is truncated, not an image, or a decompression bomb.
    """
    try:
        with _open(stream) as image:
            if size is not None and min(image.size) > 2 * max(size):
                # JPEG decodes at a fraction of the size for free; twice the target keeps the resize sharp.
                image.draft(None, (size[1] * 2, size[0] * 2))
            return fitted(image, channels, size)
    except MemoryError:
        raise
    except Exception as error:
        raise BadImage(_reason(error)) from error


def fitted(image: Image.Image, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    """An opened image → uint8 [channels, height, width]; parameters as for `decode`."""
    image.load()
    if "exif" in image.info or image.format == "TIFF":
        image = ImageOps.exif_transpose(image)
    image = _flat(image, channels)
    if size is not None and image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _flat(image: Image.Image, channels: int) -> Image.Image:
    """An image of any mode as grey or RGB without transparency."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _eight_bits(image).convert(mode)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert(mode)
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    values: Any = np.asarray(image).astype(np.int64)
    if values.max(initial=0) > 255:
        values = values >> 8
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from noisyrun.data import decode as module
from noisyrun.data.decode import BadImage, decode, probe
from noisyrun.data.sources.folder import suffixes


def _decoded(content: bytes, channels: int = 3, size=None) -> np.ndarray:
    return decode(io.BytesIO(content), channels, size)


def test_pixels_come_channels_first(image, encode_image):
    picture = image(0, (5, 3))
    got = _decoded(encode_image(picture))
    assert got.shape == (3, 3, 5)
    assert np.array_equal(got.transpose(1, 2, 0), np.asarray(picture))


def test_grey_becomes_three_equal_channels_and_colour_one(image, encode_image):
    got = _decoded(encode_image(image(0, mode="L")))
    assert np.array_equal(got[0], got[2])
    assert _decoded(encode_image(image(0)), channels=1).shape == (1, 10, 12)


def test_orientation_from_exif_is_applied(image, encode_image):
    picture = image(0, (6, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90° clockwise
    content = encode_image(picture, "PNG", exif=exif)
    got = _decoded(content)
    assert got.shape == (3, 6, 4)
    assert np.array_equal(got.transpose(1, 2, 0), np.rot90(np.asarray(picture), -1))
    assert probe(io.BytesIO(content)) == (3, 6, 4)


def test_what_is_transparent_becomes_white(encode_image):
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    got = _decoded(encode_image(clear))
    assert got[:, 0, 0].tolist() == [10, 20, 30]
    assert bool((got[:, 1:, 1:] == 255).all())


def test_a_palette_with_transparency_becomes_white_where_clear(encode_image):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([9, 9, 9, 200, 0, 0])
    picture.putpixel((2, 2), 0)
    got = _decoded(encode_image(picture, transparency=0))
    assert got[:, 2, 2].tolist() == [255, 255, 255]
    assert got[:, 0, 0].tolist() == [200, 0, 0]


def test_sixteen_bit_grey_is_scaled_to_eight(encode_image):
    values = np.array([[0, 256], [32768, 65535]], np.uint16)
    got = _decoded(encode_image(Image.fromarray(values)), channels=1)
    assert got[0].tolist() == [[0, 1], [128, 255]]


def test_cmyk_jpeg_becomes_rgb(encode_image):
    content = encode_image(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")
    red = _decoded(content)[:, 4, 4]
    assert red[0] > 200
    assert red[1] < 60


def test_another_size_is_covered_and_cut_at_the_centre(encode_image):
    picture = Image.new("RGB", (30, 10), "black")
    picture.paste("white", (10, 0, 20, 10))
    assert bool((_decoded(encode_image(picture), 3, (10, 10)) == 255).all())


def test_a_truncated_image_is_bad(image, encode_image):
    for kind in ("PNG", "JPEG"):
        content = encode_image(image(0, (64, 64)), kind)
        with pytest.raises(BadImage):
            _decoded(content[: len(content) // 2])


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_bad(content):
    with pytest.raises(BadImage, match=r"not an image"):
        _decoded(content)
    with pytest.raises(BadImage, match=r"not an image"):
        probe(io.BytesIO(content))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(image, encode_image, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 100)
    with pytest.raises(BadImage, match=r"12 × 10 pixels are more than 100: refused as a decompression bomb"):
        _decoded(encode_image(image(0)))


def test_a_large_jpeg_decoded_at_a_fraction_looks_like_one_decoded_whole(encode_image):
    ramp = np.broadcast_to(np.linspace(0, 255, 640).astype(np.uint8)[None, :, None], (480, 640, 3))
    content = encode_image(Image.fromarray(np.ascontiguousarray(ramp)), "JPEG", quality=95)
    got = _decoded(content, 3, (32, 32)).astype(int)
    want = np.asarray(Image.fromarray(ramp[:, 80:560].copy()).resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got.transpose(1, 2, 0) - want).max() < 6


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(*extra: bytes, pixels: bytes | None = None) -> bytes:
    """A PNG of 8 × 8 pixels with some more chunks."""

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    content = zlib.compress((b"\0" + b"\1" * 24) * 8) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


BOMB = zlib.compress(bytes(64 << 20), 9)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"zTXt", b"a\0\0" + BOMB)],
        [chunk(b"iTXt", b"a\0\1\0\0\0" + BOMB)],
        [chunk(b"iCCP", b"a\0\0" + BOMB)],
        [chunk(b"zTXt", b"a%d\0\0" % n + zlib.compress(bytes(1 << 20))) for n in range(80)],
    ],
)
def test_text_and_profiles_that_unpack_to_much_are_refused(chunks):
    with pytest.raises(BadImage, match=r"too large|Too much memory"):
        decode(io.BytesIO(_png(*chunks)), 3, (8, 8))


def test_pixels_that_unpack_to_more_than_the_image_has_are_not_kept():
    tracemalloc.start()
    assert decode(io.BytesIO(_png(pixels=BOMB)), 3, (8, 8)).shape == (3, 8, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_programs_that_draw_are_no_images(tmp_path):
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    for read in (lambda: probe(io.BytesIO(program)), lambda: decode(io.BytesIO(program), 3, (8, 8))):
        with pytest.raises(BadImage, match="not an image that Pillow knows"):
            read()
    assert not {".eps", ".ps", ".wmf", ".mpg", ".pdf"} & suffixes()
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif"} <= suffixes()


def test_a_header_that_promises_far_too_many_pixels_is_refused_in_our_words():
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    for look in (probe, lambda stream: decode(stream, 3, (8, 8))):
        with pytest.raises(BadImage, match=r"more than 89,478,485 pixels: refused as a decompression bomb"):
            look(io.BytesIO(content))

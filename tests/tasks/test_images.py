"""Pictures: opened, checked and decoded, the same by every road."""

import io
import os
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mmcot_jax.tasks import _images as images
from mmcot_jax.tasks._schema import BadRecord

RAMP = np.tile(np.arange(256, dtype=np.uint8), (32, 1))


def encoded(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def photo(width=60, height=40):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


QUADRANTS = np.zeros((32, 48, 3), np.uint8)
QUADRANTS[:16, :24] = 255, 0, 0
QUADRANTS[:16, 24:] = 0, 255, 0
QUADRANTS[16:, :24] = 0, 0, 255


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_the_exif_orientation_is_applied(orientation, format):
    # each orientation says how the stored picture was made from the displayed one
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](QUADRANTS)
    options = {"lossless": True} if format == "WEBP" else {}
    image = Image.fromarray(np.ascontiguousarray(stored))
    data = encoded(image, format, exif=turned(orientation), **options)
    assert (images.read(data) == QUADRANTS).all()
    assert images.displayed_size(images.open_image(data)) == (48, 32)


def test_damaged_exif_leaves_the_picture_as_it_is_stored():
    data = encoded(photo(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert images.read(data).shape == (40, 60, 3)
    assert images.read(encoded(photo(), "PNG", exif=turned(77))).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "PPM"),
        (Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF"),
        (Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        (Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"),
        (Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        (Image.fromarray(RAMP.astype(np.float32) * 1e6 - 1e7), "TIFF"),
        (Image.fromarray(RAMP), "PNG"),
    ],
)
def test_grey_of_more_than_8_bits_is_scaled(image, format):
    assert (images.read(encoded(image, format)) == RAMP[..., None]).all()


def test_floats_that_are_no_numbers_are_black():
    values = np.array([[np.nan, np.inf, 0, 1]], np.float32)
    found = images.read(encoded(Image.fromarray(values), "TIFF"))
    assert found[0, :, 0].tolist() == [0, 0, 0, 255]


def palette(transparent):
    image = Image.new("P", (40, 40), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


def animated(format):
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "lime")]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)


@pytest.mark.parametrize(
    ("data", "color"),
    [
        (encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (40, 40), (255, 0, 0, 51)), "PNG"), (255, 204, 204)),
        (encoded(Image.new("LA", (40, 40), (0, 0)), "PNG"), (255, 255, 255)),
        (palette(False), (255, 0, 0)),
        (palette(True), (255, 255, 255)),
        (encoded(Image.new("1", (40, 40), 1), "PNG"), (255, 255, 255)),
        (encoded(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
        (animated("GIF"), (255, 0, 0)),
        (animated("PNG"), (255, 0, 0)),
        (animated("WEBP"), (255, 0, 0)),
    ],
)
def test_every_mode_becomes_8_bits_of_red_green_blue(data, color):
    found = images.read(data)
    assert found.shape == (40, 40, 3) and found.dtype == np.uint8
    assert (found == color).all()


@pytest.mark.parametrize("format", images.FORMATS)
def test_every_format_is_read_from_a_file_and_from_bytes(tmp_path, format):
    size = (64, 64) if format == "ICO" else (60, 40)
    data = encoded(photo(*size), format)
    (tmp_path / "x").write_bytes(data)
    found = images.read(tmp_path / "x")
    assert found.shape == (*size[::-1], 3) and (found == images.read(data)).all()


# ---- what cannot be read -------------------------------------------------------------------------


def png_of(width, height):
    """A PNG whose header alone is true: nothing is decoded before its size is refused."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded():
    complaint = "has a picture of 13000 x 13000 pixels, its bytes; at most 67108864 are decoded: "
    with pytest.raises(BadRecord, match=complaint):
        images.read(png_of(13_000, 13_000))
    with pytest.raises(BadRecord, match="has a picture of more than 178956970 pixels"):
        images.read(png_of(14_000, 13_000))
    with pytest.raises(BadRecord, match=r"60 x 40 pixels, .*; at most 2399 are"):
        images.read(encoded(photo(), "PNG"), 2399)
    assert images.read(encoded(photo(), "PNG"), 2400).shape == (40, 60, 3)


def test_a_limit_above_that_of_the_decoder_is_refused():
    with pytest.raises(ValueError, match=r"data.max_image_pixels is 200000000; give .* 178956970"):
        images.check_max_pixels(200_000_000)


def test_a_pipe_a_folder_and_a_device_are_no_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    begin = time.monotonic()
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(BadRecord, match="is no regular file; give a picture's file"):
            images.read(path)
    assert time.monotonic() - begin < 5
    with pytest.raises(BadRecord, match=r"has no picture: .*gone.png is not there; get it, or"):
        images.read(tmp_path / "gone.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRecord, match=r"file/p.png is not there"):
        images.read(tmp_path / "file/p.png")


def test_a_text_chunk_that_unpacks_to_megabytes_is_refused():
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * 2_000_000, zip=True)
    with pytest.raises(BadRecord, match="readable picture: its bytes: Decompressed data too"):
        images.read(encoded(photo(), "PNG", pnginfo=info))


@pytest.mark.parametrize("format", images.FORMATS)
def test_a_damaged_picture_is_one_line_or_a_picture(format):
    data = encoded(photo(64, 64), format)
    rng = np.random.default_rng(0)
    for n in range(12):
        bad = bytearray(data)
        if n % 3 == 0:
            bad = bad[: rng.integers(1, len(bad))]
        for at in rng.integers(0, len(bad), 0 if n % 3 == 0 else 40):
            bad[at] = rng.integers(256)
        try:
            found = images.read(bytes(bad))
        except BadRecord as error:
            assert "\n" not in str(error) and error.reason
            with pytest.raises(BadRecord):  # the cheap check has the same verdict
                images.check(images.open_image(bytes(bad)), bytes(bad))
        else:
            assert found.dtype == np.uint8 and found.shape[2] == 3
            images.check(images.open_image(bytes(bad)), bytes(bad))


@pytest.mark.parametrize("format", images.FORMATS)
def test_a_picture_without_its_end_is_found_by_its_end(format, tmp_path):
    data = encoded(photo(64, 64), format)
    for cut in (1, 2, len(data) // 3):
        bad = data[:-cut]
        (tmp_path / "cut").write_bytes(bad)
        for source in (bad, tmp_path / "cut"):
            try:
                images.read(source)
            except BadRecord:
                with pytest.raises(BadRecord):
                    images.check_end(images.open_image(source), source)
            else:
                images.check_end(images.open_image(source), source)


def test_a_jpeg_with_its_end_is_not_decoded():
    data = bytearray(encoded(photo(64, 64), "JPEG"))
    data[-40:-2] = b"\xff\xda" * 19  # decoding stops here
    images.check_end(images.open_image(bytes(data)), bytes(data))
    data += b"\0"  # not the end mark: it is decoded
    with pytest.raises(BadRecord, match="broken data stream"):
        images.check_end(images.open_image(bytes(data)), bytes(data))

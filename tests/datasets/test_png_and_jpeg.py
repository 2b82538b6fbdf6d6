"""PNG and JPEG: the values of a file as they stand, against Pillow and NumPy."""

import io
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lungkeras.datasets.scans import jpeg
from lungkeras.datasets.scans.decoding import decode
from lungkeras.datasets.scans.opencv import Unreadable
from lungkeras.preparation.reading import fill


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_chunk(png: bytes, kind: bytes, content: bytes, at: int = 33) -> bytes:
    """A PNG with one chunk more, behind its header by default."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:at] + chunk + png[at:]


def deep(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values.astype(np.uint16))[1].tobytes()


@pytest.fixture
def twelve_bits() -> np.ndarray:
    return np.random.default_rng(0).integers(300, 4000, (30, 40))


@pytest.fixture
def grey() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (96, 80), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (9, 9), 0), None, 3, 250, cv2.NORM_MINMAX)


def test_twelve_bits_of_sixteen_span_black_to_white(twelve_bits):
    expected = np.rint(255 * (twelve_bits - twelve_bits.min()) / np.ptp(twelve_bits))
    for planes in (twelve_bits, np.dstack([twelve_bits] * 3)):
        assert np.array_equal(decode(deep(planes)), expected)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_the_bits_that_are_significant_are_the_range(bits, twelve_bits):
    values = twelve_bits >> 12 - min(bits, 12)
    right = with_chunk(deep(values), b"sBIT", bytes([bits]))
    expected = 255 * values / ((1 << bits) - 1)
    assert np.abs(decode(right) - expected).max() <= 0.51
    scaled = with_chunk(deep(values << 16 - bits | values >> max(0, 2 * bits - 16)), b"sBIT", bytes([bits]))
    assert np.abs(decode(scaled) - expected).max() <= 1


def test_a_file_of_all_sixteen_bits_stays_as_it_is(twelve_bits):
    values = twelve_bits * 16
    assert np.array_equal(decode(deep(values)), np.rint(values / 257))
    dark = values // 4
    assert np.array_equal(decode(with_chunk(deep(dark), b"sBIT", b"\x10")), np.rint(dark / 257))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"sRGB", b"\0"),
        (b"gAMA", struct.pack(">I", 45455)),
        (b"gAMA", struct.pack(">I", 100000)),
        (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
        (b"sBIT", b"\x05\x06\x05"),
    ],
)
def test_chunks_of_colour_change_no_value(kind, content, grey):
    colour = Image.fromarray(np.dstack([grey, grey[::-1], grey[:, ::-1]]))
    expected = np.array(colour.convert("L")).astype(int)
    for image in (colour, colour.convert("RGBA")):
        found = decode(with_chunk(encoded(image, "PNG"), kind, content))
        assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("hidden", [True, False])
def test_of_an_animation_the_still_image_is_read(hidden, grey):
    frames = [Image.fromarray(np.full_like(grey, level)) for level in (10, 200)]
    still = Image.fromarray(grey)
    data = encoded(still, "PNG", save_all=True, append_images=frames, default_image=hidden)
    assert b"acTL" in data and (data.index(b"fcTL") > data.index(b"IDAT")) == hidden
    assert isinstance(Image.open(io.BytesIO(data)), PngImagePlugin.PngImageFile)
    assert np.array_equal(decode(data), grey)


def test_a_png_that_is_none_is_refused_by_its_reason(grey):
    png = encoded(Image.fromarray(grey), "PNG")
    with pytest.raises(Unreadable, match="Apple's CgBI"):
        decode(with_chunk(png, b"CgBI", b"\x50\0\x20\2", at=8))
    with pytest.raises(Unreadable, match="line ends"):
        decode(png.replace(b"\r\n", b"\n", 1))


@pytest.mark.parametrize("extra", [b"\0" * 12, b"\x5a" * 40])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}])
def test_bytes_that_no_pixel_needs_are_passed_over(extra, options, grey):
    whole = encoded(Image.fromarray(grey), "JPEG", **options)
    assert np.array_equal(decode(whole[:-2] + extra + whole[-2:]), decode(whole))


def test_of_a_scan_that_is_whole_no_library_says_that_it_is_corrupt(grey, tmp_path, capfd):
    whole = encoded(Image.fromarray(grey), "JPEG")
    (tmp_path / "scan.jpg").write_bytes(whole[:-2] + b"\x5a" * 40 + whole[-2:])
    assert fill(np.zeros((1, 8, 8), np.uint8), [tmp_path / "scan.jpg"], 1) == [None]
    assert "orrupt" not in "".join(capfd.readouterr())


def test_odd_words_about_a_file_cost_no_pixel(grey):
    whole = encoded(Image.fromarray(grey), "JPEG")
    at = whole.index(b"JFIF") + 5
    assert np.array_equal(decode(whole[:at] + b"\7" + whole[at + 1 :]), decode(whole))
    at = whole.index(b"\xff\xdb")
    assert np.array_equal(decode(whole[:at] + b"junk" + whole[at:]), decode(whole))


def test_a_restart_that_lost_its_data_is_refused_even_behind_a_harmless_word(grey):
    whole = encoded(Image.fromarray(grey), "JPEG", restart_marker_rows=1, quality=95)
    marks = [at for at in range(len(whole) - 1) if whole[at] == 0xFF and 0xD0 <= whole[at + 1] <= 0xD7]
    short = whole[: marks[0]] + bytes(9) + whole[marks[0] : marks[2] - 200] + whole[marks[2] :]
    with pytest.raises(Unreadable, match="incomplete"):
        decode(short)


def lossless(values: np.ndarray, bits: int) -> bytes:
    """A lossless JPEG of one component (ITU T.81, annex H), each sample predicted by the one before or above it."""
    predicted = np.zeros_like(values)
    predicted[0, 0], predicted[0, 1:], predicted[1:, 0] = 1 << bits - 1, values[0, :-1], values[:-1, 0]
    predicted[1:, 1:] = values[1:, :-1]
    written = ""
    for difference in (values - predicted).ravel().tolist():
        length = abs(difference).bit_length()
        written += f"{length:05b}"  # each length has a code of five bits
        if length:
            written += f"{difference if difference > 0 else difference + (1 << length) - 1:0{length}b}"
    written += "1" * (-len(written) % 8)
    coded = int(written, 2).to_bytes(len(written) // 8).replace(b"\xff", b"\xff\0")
    height, width = values.shape
    frame = struct.pack(">HBHHB3B", 11, bits, height, width, 1, 1, 0x11, 0)
    table = struct.pack(">HB16B", 19 + 17, 0, *(0, 0, 0, 0, 17), *[0] * 11) + bytes(range(17))
    scan = struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)
    return b"\xff\xd8\xff\xc3" + frame + b"\xff\xc4" + table + b"\xff\xda" + scan + coded + b"\xff\xd9"


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_lossless_jpeg_is_read_as_it_is(bits):
    pytest.importorskip("libjpeg", reason="pylibjpeg-libjpeg is not installed (extra dicom)")
    values = np.random.default_rng(0).integers(1, 1 << min(bits, 15), (13, 17))
    data = lossless(values, bits)
    samples, found = jpeg.decode_samples(data)
    assert found == bits and np.array_equal(samples, values)
    assert np.abs(decode(data) - 255 * values / ((1 << bits) - 1)).max() <= 0.51
    with pytest.raises(Unreadable, match="damaged JPEG"):
        decode(data[: len(data) // 2] + b"\xff\xd9")


def test_without_the_extra_one_sentence_names_it(monkeypatch, twelve_bits):
    monkeypatch.setitem(sys.modules, "libjpeg", None)
    with pytest.raises(Unreadable, match=r"^a lossless JPEG, .*extra dicom"):
        decode(lossless(twelve_bits, 12))

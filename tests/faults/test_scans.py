"""Bad scans: none crashes, hangs or fills the memory; each is prepared right or refused with a reason."""

import functools
import io
import multiprocessing
import os
import struct
import time
import tracemalloc
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from layouts import write_covid
from mutations import chest, difference, encoded, judge, judge_all, mutated, png_of, whole_files
from PIL import Image

from lungkeras.datasets.scans.decoding import MOST_BYTES, decode, decode_grey
from lungkeras.datasets.scans.opencv import MOST_PIXELS, Unreadable
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import ScanError

LONGEST = 5  # seconds a file may take


def test_a_complete_file_is_read_as_another_decoder_reads_it():
    assert [judge(data)[::2] for data in whole_files()] == [(None, None)] * 10


def check(judged) -> None:
    assert max(seconds for _, seconds, _ in judged) < LONGEST
    assert not [wrong for _, _, wrong in judged if wrong]
    refused = sum(reason is not None for reason, _, _ in judged)
    assert 0.5 * len(judged) < refused < len(judged), "of the damaged files most are refused, some are still whole"


def test_damaged_files_are_prepared_right_or_refused(injected):
    check([judge(data) for data in mutated(64, seed=1)])
    injected("damaged PNG and JPEG files", 64)


@pytest.mark.faults
def test_a_thousand_damaged_files_crash_nothing_and_stay_in_bounds(injected):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        judged, peak = pool.submit(judge_all, 1000, 0, 4 * 2**30).result(timeout=600)
    assert len(judged) == 1000
    check(judged)
    assert peak < 600 * 2**20
    injected("damaged PNG and JPEG files", len(judged))


def test_a_jpeg_whose_coded_data_breaks_off_is_not_half_grey():
    whole = encoded(Image.fromarray(np.tile(chest(), (4, 4))), "JPEG")
    broken_off = whole[: len(whole) // 2] + b"\xff\xd9"
    assert (cv2.imdecode(np.frombuffer(broken_off, np.uint8), 0)[-1] == 128).all(), "what it would be"
    with pytest.raises(Unreadable, match="incomplete"):
        decode(broken_off)


def header(width: int, height: int, kind: int = 0, interlace: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">II5B", width, height, 8, kind, 0, 0, interlace)


def interlaced(image: np.ndarray) -> bytes:
    """A PNG in the seven passes of Adam7 (PNG specification, 8.2)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(b"\0" + row.tobytes() for y, x, down, right in passes for row in image[y::down, x::right])
    size = header(image.shape[1], image.shape[0], interlace=1)
    return png_of([size, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])


def bomb(width: int, height: int) -> bytes:
    """A PNG of black rows: a kilobyte a megapixel."""
    packer = zlib.compressobj()
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return png_of([header(width, height), (b"IDAT", rows), (b"IEND", b"")])


def many_scans(side: int, *, refined: bool = False) -> bytes:
    """A black progressive JPEG with a scan for each of 63 frequencies, or two: few bytes that walk over all pixels."""
    jpeg = encoded(Image.fromarray(np.zeros((side, side), np.uint8)), "JPEG", progressive=True)
    starts = [place for place in range(len(jpeg)) if jpeg[place : place + 2] == b"\xff\xda"]
    tables = jpeg.index(b"\xff\xc4", starts[0])  # those of the second scan, the first of frequencies above 0
    scan = bytearray(jpeg[tables : jpeg.index(b"\xff\xc4", starts[1])])
    band = scan.index(b"\xff\xda") + 7  # first and last frequency, bits before and after
    scans = b""
    for frequency in range(1, 64):
        for bits in (0x01, 0x10) if refined else (0x00,):
            scan[band : band + 3] = bytes([frequency, frequency, bits])
            scans += scan
    return jpeg[:tables] + scans + b"\xff\xd9"


@functools.cache
def odd_files() -> dict[str, tuple[bytes, str | None]]:
    """Name -> (content, what the refusal says; None where the scan is to be prepared)."""
    grey = Image.fromarray(chest())
    colour = Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_180), grey])
    turned = Image.Exif()
    turned[0x0112] = 6
    png = encoded(grey, "PNG")
    end = png[-12:]
    text = png_of([(b"tEXt", b"Comment\0" + b"x" * 1_000_000)])[8:]
    packed = png_of([(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000)))])[8:]
    return {
        "63 scans": (many_scans(64), None),
        "8 bits": (png, None),
        "16 bits": (cv2.imencode(".png", chest().astype(np.uint16) * 257)[1].tobytes(), None),
        "1 bit": (encoded(grey.convert("1"), "PNG"), None),
        "palette": (encoded(colour.quantize(200), "PNG"), None),
        "alpha": (encoded(colour.convert("RGBA"), "PNG"), None),
        "interlaced": (interlaced(chest()), None),
        "colour": (encoded(colour, "JPEG", quality=95), None),
        "turned JPEG": (encoded(grey, "JPEG", exif=turned), None),
        "packed comment of 100 MB": (png[:-12] + packed + end, None),
        "bytes behind the end": (png + b"x" * 1000, None),
        "one row": (encoded(Image.fromarray(chest(1, 5000)), "PNG"), None),
        "one pixel": (encoded(Image.fromarray(chest(1, 1) * 0), "PNG"), None),
        "bomb": (bomb(30_000, 2_200), "too many pixels"),
        "bomb by header": (png_of([header(2**31 - 1, 2**31 - 1), (b"IDAT", b""), (b"IEND", b"")]), "too many"),
        "one by 2^21": (png_of([header(2**21, 1), (b"IDAT", zlib.compress(bytes(2**21 + 1))), (b"IEND", b"")]), "can"),
        "no pixels": (png_of([header(0, 0), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]), "no pixels"),
        "20 MB of comments": (png[:-12] + text * 20 + end, "more than 8 MB of metadata"),
        "no image data": (png_of([header(8, 8), (b"IEND", b"")]), "can't be decoded"),
        "too little image data": (png_of([header(8, 8), (b"IDAT", zlib.compress(bytes(9))), (b"IEND", b"")]), "can"),
        "TIFF": (encoded(grey, "TIFF"), "neither PNG, JPEG nor DICOM"),
        "GIF": (encoded(grey, "GIF"), "neither PNG, JPEG nor DICOM"),
        "WebP": (encoded(grey, "WEBP"), "neither PNG, JPEG nor DICOM"),
        "EPS": (encoded(grey, "EPS"), "neither PNG, JPEG nor DICOM"),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "neither PNG"),
        "126 scans": (many_scans(64, refined=True), "in more than 100 scans"),
        "JPEG of no height": (encoded(grey, "JPEG").replace(struct.pack(">HH", 160, 120), bytes(4), 1), "no pixels"),
    }


@pytest.mark.parametrize("name", odd_files())
def test_an_odd_file_is_prepared_right_or_refused_by_its_reason(name, injected):
    data, words = odd_files()[name]
    tracemalloc.start()
    started = time.monotonic()
    if words is None:
        image = decode(data)
        assert time.monotonic() - started < LONGEST
        assert name == "packed comment of 100 MB" or difference(data, image) is None  # which Pillow refuses
    else:
        with pytest.raises(Unreadable, match=words):
            decode(data)
        assert time.monotonic() - started < LONGEST
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    injected("odd images, bombs among them", 1)


def test_cmyk_becomes_grey_as_pillow_sees_it():
    grey = Image.fromarray(chest())
    data = encoded(grey.convert("CMYK"), "JPEG", quality=95)
    expected = np.array(Image.open(io.BytesIO(data)).convert("L")).astype(int)
    assert np.abs(decode(data).astype(int) - expected).max() <= 2
    with pytest.raises(Unreadable, match="incomplete"):
        decode(data[: len(data) // 2] + b"\xff\xd9")


@pytest.mark.faults
def test_the_slowest_file_that_is_let_in_takes_less_than_five_seconds():
    side = int(MOST_PIXELS**0.5)
    for data in (many_scans(side), bomb(side, side - 1)):
        started = time.process_time()  # which other work on the machine does not lengthen
        assert decode(data).shape[1] == side
        assert time.process_time() - started < LONGEST


def test_a_file_that_is_not_plain_is_refused_without_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "scan.png")
    for path in (tmp_path / "scan.png", Path("/dev/zero"), tmp_path):
        with pytest.raises(ScanError, match="not a plain file"):
            decode_grey(path)
    (tmp_path / "large.png").touch()
    os.truncate(tmp_path / "large.png", MOST_BYTES + 1)
    with pytest.raises(ScanError, match="larger than 256 MB"):
        decode_grey(tmp_path / "large.png")


def test_a_source_with_every_odd_file_is_prepared_without_them(tmp_path):
    source = write_covid(tmp_path / "source")
    folder = next(source.rglob("*.png")).parent
    odd = {f"odd-{place}.png": content for place, content in enumerate(odd_files().values())}
    for name, (data, _) in odd.items():
        (folder / name).write_bytes(data)
    before = len(list(source.rglob("*.png")))
    summary = prepare_dataset("covid", source, tmp_path / "prepared", size=32)
    quarantine = pd.read_csv(tmp_path / "prepared" / "quarantine.csv")
    refused = {name for name, (_, words) in odd.items() if words}
    assert refused <= set(quarantine["scan"]) and not (set(odd) - refused) & set(quarantine["scan"])
    assert quarantine["reason"].str.len().between(5, 80).all()
    assert sum(summary["scans"].values()) + summary["quarantined"] <= before

"""Scans of every ordinary kind, and what becomes of them when bits flip, bytes go missing, or a header lies."""

import io
import random
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chest(height: int = 160, width: int = 120) -> np.ndarray:
    """A smooth random image, uint8 (height, width)."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (9, 9), 0), None, 3, 250, cv2.NORM_MINMAX)


def whole_files() -> list[bytes]:
    """PNG and JPEG files of the kinds that collections hold."""
    grey = Image.fromarray(chest())
    colour = Image.merge("RGB", [grey, grey.transpose(Image.Transpose.ROTATE_180), grey])
    deep = chest().astype(np.uint16) * 257
    turned = Image.Exif()
    turned[0x0112] = 3
    return [
        encoded(grey, "PNG"),
        encoded(colour, "PNG"),
        encoded(colour.convert("RGBA"), "PNG"),
        encoded(grey.quantize(64), "PNG"),
        cv2.imencode(".png", deep)[1].tobytes(),
        encoded(grey, "JPEG", quality=85),
        encoded(grey, "JPEG", quality=70, exif=turned),
        encoded(colour, "JPEG", quality=85),
        encoded(grey, "JPEG", quality=85, progressive=True),
        cv2.imencode(".jpg", chest(), [cv2.IMWRITE_JPEG_RST_INTERVAL, 4])[1].tobytes(),
    ]


def chunks(png: bytes) -> list[tuple[bytes, bytes]]:
    """(type, content) of each chunk of a whole PNG."""
    found, at = [], len(PNG_SIGNATURE)
    while at < len(png):
        length = int.from_bytes(png[at : at + 4])
        found.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def png_of(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with their lengths and checksums."""
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    )


def flip(data: bytes, draw: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5, 20])):
        damaged[draw.randrange(2, len(data))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def cut_and_close(data: bytes, draw: random.Random) -> bytes:
    """The end is there, a stretch before it is missing."""
    first, last = sorted(draw.randrange(20, len(data) - 12) for _ in range(2))
    return data[:first] + data[last:]


def insert(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.choice([1, 4, 100])) + data[at:]


def lie_in_a_field(data: bytes, draw: random.Random) -> bytes:
    """Two or four bytes near the start, where sizes and lengths stand, become a number of the nasty kind."""
    at, value = draw.randrange(2, min(400, len(data) - 4)), draw.choice([0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    field = struct.pack(">I", value) if value > 0xFFFF else struct.pack(">H", value)
    return data[:at] + field + data[at + len(field) :]


def with_checksums(data: bytes, draw: random.Random) -> bytes:
    """A PNG whose chunks are damaged within and have the checksums of what they hold; a JPEG is flipped."""
    if not data.startswith(PNG_SIGNATURE):
        return flip(data, draw)
    parts = chunks(data)
    place = draw.randrange(len(parts) - 1)
    kind, content = parts[place]
    how = draw.choice([flip, cut, insert]) if len(content) > 3 else insert
    parts[place] = (kind, how(content or b"\0", draw))
    return png_of(parts)


MUTATIONS = (flip, flip, cut, cut_and_close, insert, lie_in_a_field, with_checksums, with_checksums)


def mutated(count: int, seed: int = 0) -> Iterator[bytes]:
    """`count` damaged files, the same for the same seed."""
    draw, files = random.Random(seed), whole_files()
    for number in range(count):
        yield MUTATIONS[number % len(MUTATIONS)](draw.choice(files), draw)


def judge(data: bytes) -> tuple[str | None, float, str | None]:
    """(why lungkeras refuses a file or None, seconds, what is wrong with the image that it gave or None)."""
    from lungkeras.datasets.scans.decoding import decode
    from lungkeras.datasets.scans.opencv import Unreadable

    start = time.monotonic()
    try:
        image = decode(data)
    except Unreadable as error:
        return str(error), time.monotonic() - start, None
    return None, time.monotonic() - start, difference(data, image)


def difference(data: bytes, image: np.ndarray) -> str | None:
    """How an image differs from what Pillow reads, a decoder of its own; None where it does not."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.draft("L", opened.size)  # of a colour JPEG the luma alone, before it is clipped to what RGB can show
            deep = opened.mode.startswith("I")
            shown = np.array(opened)
            turns = {3: 2, 6: -1, 8: 1}.get(opened.getexif().get(0x0112), 0) if opened.format == "JPEG" else 0
            expected = np.rint(shown / 257) if deep else np.array(opened.convert("RGB").convert("L"))
    except Exception as error:
        return f"Pillow can't read it: {error}"
    expected = np.rot90(expected, turns)
    if expected.shape != image.shape:
        return f"{image.shape} instead of {expected.shape}"
    most = np.abs(image.astype(int) - expected).max()
    return f"{most} grey levels off" if most > 2 else None


def judge_all(count: int, seed: int, memory: int) -> tuple[list[tuple[str | None, float, str | None]], int]:
    """Judges `count` damaged files in a process that gets no more than `memory` bytes; and its peak in bytes."""
    import lungkeras.datasets.scans.decoding  # noqa: F401  what it maps is not the files'

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    judged = [judge(data) for data in mutated(count, seed)]
    # Of this process alone: ru_maxrss is also that of the one which started it.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return judged, int(peak.split()[1]) * 1024

"""Compressed frames of DICOM files -> stored values: RLE and 8-bit JPEG by core dependencies, others by an extra.

A frame is recognised by its content. Its own header is read first: a decoder never gets one of another size.
"""

from itertools import pairwise

import numpy as np

from lungkeras.datasets.scans.jpeg import (
    EXTRA,
    decode_jpeg,
    decode_samples,
    frame_of,
    is_usual,
    jpeg_flaw,
    with_colours,
)
from lungkeras.datasets.scans.opencv import Unreadable

JPEG_START, CODESTREAM = b"\xff\xd8", b"\xff\x4f\xff\x51"
START_OF_TILE, END_OF_CODESTREAM = 0xFF90, 0xFFD9
CODING_STYLES = (0xFF52, 0xFF53)
MOST_BLOCKS = 1_000_000  # of a JPEG 2000: each costs a decoder memory, however little it holds
SIZE = "DICOM whose pixels do not have the size that it states"


def decode_frame(frame: bytes, shape: tuple[int, int], colours: str, syntax: str) -> tuple[np.ndarray, int, str]:
    """(unsigned values (height, width) or (height, width, 3), bits of each, what the three samples are).

    Raises Unreadable if the frame has another size than `shape`, is incomplete, or has an unsupported format.
    """
    if frame.startswith(JPEG_START):
        pixels, bits = _decode_jpeg(frame, shape, colours)
        return pixels, bits, colours
    at = frame[:4096].find(CODESTREAM)
    if at >= 0:
        pixels, bits = _decode_jpeg2000(frame[at:], shape)
        return pixels, bits, "RGB" if colours in ("YBR_ICT", "YBR_RCT") else colours
    raise Unreadable(f"DICOM with pixels in {syntax}, which are not read; convert it to Explicit VR Little Endian")


def _decode_jpeg(frame: bytes, shape: tuple[int, int], colours: str) -> tuple[np.ndarray, int]:
    frame = frame[: frame.rfind(b"\xff\xd9") + 2]  # frames are padded to an even length
    if reason := jpeg_flaw(frame):
        raise Unreadable(reason)
    frame = with_colours(frame, colours == "RGB")
    if frame_of(frame).shape != shape:
        raise Unreadable(SIZE)
    return (decode_jpeg(frame), 8) if is_usual(frame) else decode_samples(frame)


def _decode_jpeg2000(frame: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    samples, bits = _jpeg2000_header(frame, shape)
    try:
        import openjpeg
    except ImportError as error:
        raise Unreadable(f"DICOM with JPEG 2000 pixels, {EXTRA}") from error
    try:
        pixels = np.frombuffer(openjpeg.decode_pixel_data(frame, version=2), np.uint8 if bits <= 8 else "<u2")
        return pixels.reshape(*shape, *[samples][: samples > 1]), bits
    except (RuntimeError, ValueError) as error:
        raise Unreadable("damaged JPEG 2000 (it can't be decoded)") from error


def _jpeg2000_header(data: bytes, shape: tuple[int, int]) -> tuple[int, int]:
    """(samples, bits) of a codestream (ITU T.800, annex A). Raises Unreadable if it is not whole, or a bomb."""

    def number(at: int, length: int = 4) -> int:
        return int.from_bytes(data[at : at + length])

    samples, first = number(40, 2), data[42:45]
    bits = (data[42] & 0x7F) + 1 if len(data) > 45 else 0
    if (number(12) - number(20), number(8) - number(16)) != shape:
        raise Unreadable(SIZE)
    if samples not in (1, 3) or bits > 16 or any(data[42 + 3 * n : 45 + 3 * n] != first for n in range(samples)):
        raise Unreadable("JPEG 2000 of other than 1 or 3 samples of up to 16 bits")
    if first[1:] != b"\1\1":
        raise Unreadable("JPEG 2000 of subsampled colours, which is not read")
    at = 2
    while at + 4 <= len(data):
        marker, length = number(at, 2), number(at + 2, 2)
        if marker == END_OF_CODESTREAM:
            return samples, bits
        if marker == START_OF_TILE:
            length = number(at + 6) or len(data) - at - 2
            _check_blocks(data[at + 12 : min(at + length, at + 4096)], shape, samples)
            if length < 14 or at + length > len(data):
                break
            at += length
        else:
            if marker in CODING_STYLES:
                _check_blocks(data[at : at + 2 + length], shape, samples)
            at += 2 + length
    if number(at, 2) == END_OF_CODESTREAM:
        return samples, bits
    raise Unreadable("JPEG 2000 cut short")


def _check_blocks(header: bytes, shape: tuple[int, int], samples: int) -> None:
    """Refuses a coding style with many blocks or precincts a pixel."""
    at = 0
    while at + 4 <= len(header):
        marker, length = int.from_bytes(header[at : at + 2]), int.from_bytes(header[at + 2 : at + 4])
        if marker < 0xFF01 or marker == 0xFF93:
            return
        if marker in CODING_STYLES:
            style = header[at + 4] if marker == 0xFF52 else header[at + 5]
            place = at + (10 if marker == 0xFF52 else 7)  # blocks' width and height, after the levels
            content = header[place : at + 2 + length]
            area = 2 ** ((content[0] & 15) + (content[1] & 15) + 4)
            if style & 1:
                area = min(area, *(2 ** ((size & 15) + (size >> 4)) for size in content[4:] or [255]))
            if shape[0] * shape[1] * samples / area > MOST_BLOCKS:
                raise Unreadable("JPEG 2000 in too many blocks")
        at += 2 + length


def decode_rle(frame: bytes, shape: tuple[int, int], samples: int, depth: int) -> np.ndarray:
    """The values of an RLE frame (PS3.5, annex G), unsigned of `depth` bytes. Raises Unreadable if it is not whole.

    Each byte of each sample is a segment of its own, the most significant first.
    """
    count = int.from_bytes(frame[:4], "little")
    if len(frame) < 64 or count != samples * depth:
        raise Unreadable("damaged RLE (the number of its segments is not that of its samples)")
    starts = [int.from_bytes(frame[4 * n + 4 : 4 * n + 8], "little") for n in range(count)] + [len(frame)]
    size = shape[0] * shape[1]
    planes = [_unpacked(frame[start:end], size) for start, end in pairwise(starts)]
    values = np.stack([np.frombuffer(plane, np.uint8) for plane in planes], axis=-1)
    pixels = values.view(f">u{depth}").astype(f"u{depth}")
    return pixels.reshape(*shape, *[samples][: samples > 1])


def _unpacked(segment: bytes, size: int) -> bytes:
    parts = bytearray()
    at = 0
    while len(parts) < size and at + 1 < len(segment):
        head = segment[at]
        if head < 128:
            parts += segment[at + 1 : at + 2 + head]
            at += head + 2
        else:  # 128 is for no use
            parts += segment[at + 1 : at + 2] * (257 - head if head > 128 else 0)
            at += 2 if head > 128 else 1
    if len(parts) < size:
        raise Unreadable("DICOM whose pixels are incomplete")
    return bytes(parts[:size])

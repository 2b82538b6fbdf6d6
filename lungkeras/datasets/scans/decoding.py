"""One file -> one grey image of 8 bits, or one sentence that says why not.

Files are untrusted: each is checked before a decoder sees it. Decoders ignore many faults (a truncated JPEG comes out
with its lower part grey), read formats that no collection uses, and believe what a header claims.
"""

import stat
from pathlib import Path

import numpy as np

from lungkeras.datasets.scans.arrays import decode_row, is_row
from lungkeras.datasets.scans.jpeg import JPEG, decode_jpeg, jpeg_flaw
from lungkeras.datasets.scans.opencv import Unreadable
from lungkeras.datasets.scans.png import decode_png, png_flaw
from lungkeras.system.errors import ScanError

MOST_BYTES = 256_000_000
DICOM, DICOM_AT = b"DICM", 128  # behind a preamble that may hold anything
STARTS_WITHIN = 1024  # bytes of a file that show its format
SCANS = frozenset({"png", "jpeg", "dicom"})
# What a file of another kind begins with (file(1) knows the same), and what to call it.
SIGNATURES = (
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg 2000"),
    (b"\xff\x4f\xff\x51", "jpeg 2000"),
    (b"\xff\x0a", "jpeg xl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jpeg xl"),
    (b"%PDF", "pdf"),
    (b"%!PS", "postscript"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!", "rar"),
    (b"\x93NUMPY", "numpy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office document"),
    (b"\0\x05\x16\x07", "macOS metadata"),
    (b"\0\0\0\x01Bud1", "macOS metadata"),
    (b"version https://git-lfs", "git lfs pointer"),
    (b"<?xml", "xml"),
    (b"<svg", "svg"),
)
BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"mif1": "heic", b"msf1": "heic"}
HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")


def kind_of(file: Path | str | bytes) -> str:
    """What a file is, by its first bytes and never by its name: "png", "jpeg" or "dicom" where it is a scan.

    Takes a path, or the first bytes of a file (STARTS_WITHIN are enough). Else returns what to call it in a sentence:
    "empty", "gif", "html", "text", "zip", ..., "zero bytes" if it holds nothing else, "folder", "no plain file" (a
    pipe, a device), or "unknown". Raises OSError if a path can't be read.
    """
    if not isinstance(file, bytes):
        about = Path(file).stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would wait
            return "folder" if stat.S_ISDIR(about.st_mode) else "no plain file"
        with open(file, "rb") as stream:
            file = stream.read(STARTS_WITHIN)
    return _kind(file[:STARTS_WITHIN])


def is_scan(start: bytes) -> bool:
    """Whether a file with these first bytes is a PNG, a JPEG or a DICOM file, whatever its name."""
    return kind_of(start) in SCANS


def _kind(start: bytes) -> str:
    if not start:
        return "empty"
    if start[DICOM_AT:].startswith(DICOM) or _is_bare_dicom(start):
        return "dicom"
    if start.startswith(b"\x89PNG"):  # a transfer as text changes the line ends that follow
        return "png"
    if start.startswith(JPEG):
        return "jpeg"
    for signature, name in SIGNATURES:
        if start.startswith(signature):
            return name
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12], "video")
    if not start.strip(b"\0"):
        return "zero bytes"
    return _kind_of_text(start)


def _is_bare_dicom(start: bytes) -> bool:
    """Whether DICOM elements begin at once, without the preamble: the file meta (group 2) or the next group."""
    for order in "little", "big":
        group, element = (int.from_bytes(start[at : at + 2], order) for at in (0, 2))
        length = int.from_bytes(start[4:8], order)
        explicit = start[4:6].isalpha() and start[4:6].isupper()
        if group in (2, 8) and element <= 0x20 and len(start) > 8 and (explicit or 0 < length <= 64):
            return True
    return False


def _kind_of_text(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):  # the byte order mark of UTF-16
        return "text"
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.lower().startswith(HTML):
        return "html"
    return "unknown" if any(byte < 32 and byte not in b"\t\n\f\r" for byte in start) else "text"


def decode_grey(path: Path | str) -> np.ndarray:
    """Reads a PNG, a JPEG or a DICOM file, known by its first bytes and not by its name, as a grey image.

    Returns uint8 of shape (height, width) in [0, 255]. Colour becomes its luma (0.299 R + 0.587 G + 0.114 B), alpha is
    left out, a palette is looked up. 16 bits are scaled to 8 by the range that is used (see `png`). An EXIF orientation
    is respected: the image is rotated as a viewer would show it. For DICOM see `dicom`. A path may also name a row of
    an .npz file (see `arrays`).

    Raises ScanError, naming the file and the reason, if it can't be opened, is empty, truncated, damaged, larger than
    64 megapixels, or none of the three.
    """
    path = Path(path)
    try:
        return decode_row(path) if is_row(path) else decode(_content(path))
    except OSError as error:
        raise ScanError(f"{path}: can't be read ({error.strerror})") from error
    except Unreadable as error:
        raise ScanError(f"{path}: {error}") from error


def _content(path: Path) -> bytes:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would wait, a device would never end
        raise Unreadable("can't be read (not a plain file)")
    if about.st_size > MOST_BYTES:
        raise Unreadable(f"larger than {MOST_BYTES // 1_000_000} MB")
    return path.read_bytes()


def decode(data: bytes) -> np.ndarray:
    """`decode_grey` of a file's content. Raises Unreadable with the reason."""
    match kind_of(data[:STARTS_WITHIN]):
        case "dicom":
            from lungkeras.datasets.scans.dicom import decode_dicom

            return decode_dicom(data)
        case "png":
            read, flaw = decode_png, png_flaw(data)
        case "jpeg":
            read, flaw = decode_jpeg, jpeg_flaw(data)
        case "empty":
            read, flaw = None, "empty file"
        case kind:
            read, flaw = None, f"neither PNG, JPEG nor DICOM ({kind})"
    if flaw:
        raise Unreadable(flaw)
    return read(data)

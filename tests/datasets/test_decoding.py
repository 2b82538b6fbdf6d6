"""What a file is, by its content."""

import io
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from lungkeras.datasets.scans.decoding import SCANS, is_scan, kind_of

IMAGE = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    IMAGE.save(file, kind)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    return file.getvalue()


EXPLICIT = b"UL\4\0\4\0\0\0"  # a VR, a length and a value


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        *((saved(kind), kind.lower()) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")),
        (saved("JPEG2000"), "jpeg 2000"),
        (saved("EPS"), "postscript"),
        (saved("PDF"), "pdf"),
        (zipped(), "zip"),
        (b"\x89PNG\n\x1a\n" + saved("PNG")[8:], "png"),
        (bytes(128) + b"DICM", "dicom"),
        (saved("TIFF")[:128].ljust(128, b"\0") + b"DICM", "dicom"),
        (b"\2\0\0\0" + EXPLICIT, "dicom"),
        (b"\x08\0\x16\0UI\x1a\0", "unknown"),  # one element's start, and nothing in it
        (b"\x08\0\x16\0UI\x1a\x001.2.840.10008.5.1.4.1.1.1", "dicom"),
        (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100", "dicom"),
        (b"\0\x08\0\x05CS\0\x0aISO_IR 100", "dicom"),
        (b"", "empty"),
        (bytes(5000), "zero bytes"),
        (b" \r\n<!DOCTYPE HTML PUBLIC><html>", "html"),
        (b"\xef\xbb\xbf<html lang=en>", "html"),
        ("Größe;1\n".encode() * 400, "text"),
        ("é".encode() * 3000, "text"),
        ("Größe;1\n".encode("cp1252"), "text"),
        ("a,b\n".encode("utf-16"), "text"),
        (b'<svg xmlns="x">', "svg"),
        (b"\1\2\3\4" * 9, "unknown"),
    ],
)
def test_the_kind_of_a_file_is_what_it_holds(content, kind, tmp_path):
    content = content if isinstance(content, bytes) else content.encode()
    assert kind_of(content) == kind
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    assert kind_of(path) == kind_of(str(path)) == kind
    assert is_scan(content) == (kind in SCANS)


def test_what_is_no_file_is_no_scan_and_nothing_waits(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert kind_of(tmp_path / "pipe") == kind_of("/dev/zero") == "no plain file"
    assert kind_of(tmp_path) == "folder"
    with pytest.raises(FileNotFoundError):
        kind_of(tmp_path / "absent")

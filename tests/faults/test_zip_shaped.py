"""Zip-shaped files and tars that would fill memory: refused in a sentence, by a process that stays small."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from measuring import measured

from lungkeras.system.errors import RunError
from lungkeras.system.untrusted.array_files import load
from lungkeras.system.untrusted.keras_files import check_model_file

SCAN = "COVID-19_Radiography_Dataset/COVID/images/COVID-1.png"
UNPACK = """
from lungkeras.datasets.download import fetch
print(fetch("covid", sys.argv[2], archive=sys.argv[1]))
"""
ZEROS = 300_000_000


def packed_zeros(method: int, size: int) -> bytes:
    """So many zeros as a zip's member holds them."""
    block = bytes(1 << 20)
    if method == zipfile.ZIP_LZMA:
        filters = [{"id": lzma.FILTER_LZMA1, "preset": 1}]
        packer, start = lzma.LZMACompressor(lzma.FORMAT_RAW, filters=filters), b"\x09\x04\x05\x00\x5d\x00\x00\x10\x00"
    else:
        packer = bz2.BZ2Compressor() if method == zipfile.ZIP_BZIP2 else zlib.compressobj(9, wbits=-15)
        start = b""
    return start + b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def zip_with(*members: tuple[str, bytes, int, int]) -> bytes:
    """A zip of members (name, packed content, method, claimed size), whatever they claim."""
    body, directory = b"", b""
    for name, content, method, claimed in members:
        common = struct.pack("<HHHHIIIHH", 0x2, method, 0, 0x21, 0, len(content), claimed, len(name), 0)
        directory += b"PK\x01\x02" + struct.pack("<HH", 20, 20) + common
        directory += struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + name.encode()
        body += b"PK\x03\x04" + struct.pack("<H", 20) + common + name.encode() + content
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + end


def old_sparse(entries: int) -> bytes:
    """A tar whose member is sparse in GNU's old way, with so many pieces."""
    header = bytearray(tarfile.TarInfo(SCAN).tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[482], pieces = 1, -(-entries // 21)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = bytearray((b"%011o\0" % 1 + b"%011o\0" % 1) * 21 + bytes(8))
    block[504] = 1
    last = bytearray(block)
    last[504] = 0
    return bytes(header) + bytes(block) * (pieces - 1) + bytes(last) + bytes(1024)


def pax_sparse(map_text: bytes) -> bytes:
    """A tar whose member is sparse as in pax 1.0, with this map before its content."""
    info = tarfile.TarInfo(SCAN)
    content = map_text + bytes(-len(map_text) % 512)
    info.size = len(content)
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": SCAN,
                        "GNU.sparse.realsize": "10"}  # fmt: skip
    return info.tobuf(tarfile.PAX_FORMAT) + content + bytes(1024)


def folders(number: int) -> bytes:
    folder = tarfile.TarInfo()
    folder.type = tarfile.DIRTYPE
    return b"".join(folder.replace(name=f"{place}").tobuf() for place in range(number)) + bytes(1024)


HEAVY = {
    "bzip2": lambda: zip_with((SCAN, packed_zeros(zipfile.ZIP_BZIP2, ZEROS), zipfile.ZIP_BZIP2, ZEROS)),
    "lzma": lambda: zip_with((SCAN, packed_zeros(zipfile.ZIP_LZMA, ZEROS), zipfile.ZIP_LZMA, ZEROS)),
    "deflate": lambda: zip_with((SCAN, packed_zeros(zipfile.ZIP_DEFLATED, ZEROS), zipfile.ZIP_DEFLATED, ZEROS)),
    "pax sparse map": lambda: gzip.compress(pax_sparse(b"6000000\n" + b"0\n" * 12_000_000)),
    "old sparse map": lambda: gzip.compress(old_sparse(2_000_000)),
    "cut sparse map": lambda: gzip.compress(pax_sparse(b"60\n0\n0\n")),
    "folders": lambda: gzip.compress(folders(310_000), 1),
    "deep folders": lambda: zip_with(("a/" * 985 + "1.png", b"x", zipfile.ZIP_STORED, 1)),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.faults] if name == "folders" else []) for name in HEAVY]
)
def test_an_archive_that_would_fill_memory_is_a_sentence(name, tmp_path, injected):
    archive = tmp_path / "archive"
    archive.write_bytes(HEAVY[name]())
    done = measured(UNPACK, archive, tmp_path / "in" / "source")
    assert done.said.startswith("LungkerasError: expected "), done.said
    assert "\n" not in done.said and len(done.said) < 700
    assert done.megabytes < 200 and done.seconds < 10
    assert not list((tmp_path / "in").iterdir())
    injected("archives that would fill memory", 1)


MODEL = """
from lungkeras.system.untrusted.keras_files import check_model_file
check_model_file(sys.argv[1])
"""
MEMBERS = ("config.json", "model.weights.h5")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("claimed", [100, ZEROS])
def test_a_model_file_that_would_fill_memory_is_a_sentence(method, claimed, tmp_path, injected):
    """One that claims a hundred bytes, and is packed to look like many, or says what it is."""
    file = tmp_path / "model.keras"
    packed = packed_zeros(method, ZEROS)
    file.write_bytes(zip_with(("metadata.json", packed, method, claimed), *((name, b"{}", 0, 2) for name in MEMBERS)))
    done = measured(MODEL, file)
    assert done.said.startswith(f"RunError: {file} ") and "\n" not in done.said
    assert done.megabytes < 100
    injected("model files that would fill memory", 1)


def test_a_member_that_holds_more_than_it_claims_is_refused(tmp_path):
    """Python checks what is claimed, and unpacks the rest first."""
    file = tmp_path / "model.keras"
    file.write_bytes(zip_with(*((name, b"{}" * 10, 0, 2) for name in ("metadata.json", *MEMBERS))))
    with pytest.raises(RunError, match="could not be read as a Keras model"):
        check_model_file(file)


ARRAYS = """
from lungkeras.system.untrusted.array_files import load
print(len(load(sys.argv[1])["a"]))
"""


def npy(shape: tuple[int, ...], content: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def arrays_of(name: str) -> bytes:
    content = npy((ZEROS,), b"")
    match name:
        case "bzip2":
            packed = packed_zeros(zipfile.ZIP_BZIP2, ZEROS)
            return zip_with(("a.npy", packed, zipfile.ZIP_BZIP2, ZEROS))
        case "claims":
            return zip_with(("a.npy", npy((10**12,), b"1"), 0, len(npy((10**12,), b"1"))))
        case "objects":
            file = io.BytesIO()
            np.savez(file, a=np.array([{}], object))
            return file.getvalue()
        case _:
            return content


@pytest.mark.parametrize("name", ["bzip2", "claims", "objects", "no zip"])
def test_arrays_that_are_not_what_they_claim_are_an_error(name, tmp_path):
    file = tmp_path / "arrays.npz"
    file.write_bytes(arrays_of(name))
    done = measured(ARRAYS, file)
    assert done.said.split(":")[0] in ("ValueError", "BadZipFile") and done.megabytes < 100


def test_arrays_that_we_write_are_loaded(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.zeros((0, 4), bool), "c": np.array("text")}
    np.savez_compressed(tmp_path / "some.npz", **arrays)
    with load(tmp_path / "some.npz") as held:
        assert set(held.files) == set(arrays)
        assert all(np.array_equal(held[name], arrays[name]) for name in arrays)

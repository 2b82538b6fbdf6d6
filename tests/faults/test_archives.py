"""Hostile archives: refused whole, in a sentence, with nothing written, by whatever way they come."""

import gzip
import io
import os
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from layouts import write_covid

from lungkeras.datasets.download import fetch
from lungkeras.system.errors import LungkerasError
from lungkeras.system.untrusted import archives as safe_archives

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")
SCAN = "COVID-19_Radiography_Dataset/COVID/images/COVID-1.png"


def zip_of(*members: tuple[str, bytes], mode: int = 0, packed: bool = False) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members:
            member = zipfile.ZipInfo("x")
            member.filename, member.external_attr = name, mode << 16
            member.compress_type = archive.compression
            archive.writestr(member, content)
    return file.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **more) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    for key, value in more.items():
        setattr(made, key, value)
    return made


def tar_of(*members: tuple[tarfile.TarInfo, bytes], **options) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", **options) as archive:
        for one, content in members:
            one.size = len(content)
            archive.addfile(one, io.BytesIO(content))
    return file.getvalue()


def negative_size() -> bytes:
    header = bytearray(tar_of((member(SCAN), b""))[:512])
    header[124:136] = b"\xff" * 10 + (0x10000 - 512).to_bytes(2)  # -512, in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


def long_chain() -> list[tuple[tarfile.TarInfo, bytes]]:
    """Links whose resolved path is longer than a system call takes, so that a check of it is cut off (PEP 706's)."""
    folder, links, here = "d" * 247, "abcdefghijklmnop", ""
    made = []
    for letter in links:
        made += [(member(here + folder, tarfile.DIRTYPE), b""), (member(here + letter, tarfile.SYMTYPE, folder), b"")]
        here += folder + "/"
    through = "/".join(links) + "/" + "l" * 254
    made.append((member(through, tarfile.SYMTYPE, "../" * len(links)), b""))
    made.append((member("escape", tarfile.SYMTYPE, through + "/../../../escaped"), b""))
    return [*made, (member("written", tarfile.LNKTYPE, "escape"), b""), (member("written"), b"x")]


def hostile(outside: Path) -> dict[str, bytes]:
    """Name -> archive; each would write `outside`, or fill disk, memory or time."""
    scan = (member(SCAN), b"scan")
    up = os.path.relpath(outside, outside.parent / "in" / "source")
    zeros = bytes(30_000_000)
    overlapping = zip_of((SCAN, b"x" * 1000), ("COVID/2.png", b"y" * 1000))
    return {
        "zip: parent": zip_of((up, b"x")),
        "zip: parent within": zip_of((f"COVID/../../{outside.name}", b"x")),
        "zip: absolute": zip_of((str(outside), b"x")),
        "zip: backslashes": zip_of(("..\\..\\x", b"x")),
        "zip: drive": zip_of(("C:\\x", b"x")),
        "zip: share": zip_of(("\\\\server\\share\\x", b"x")),
        "zip: link": zip_of((SCAN, str(outside).encode()), mode=0o120777),
        "zip: device": zip_of((SCAN, b""), mode=0o020666),
        "zip: same name twice": zip_of((SCAN, b"x"), (SCAN, b"y")),
        "zip: case clash": zip_of((SCAN, b"x"), (SCAN.lower(), b"y")),
        "zip: bomb": zip_of((SCAN, zeros), packed=True),
        "zip: bomb in pieces": zip_of(
            *((f"COVID/{number}.png", zeros[:1_000_000]) for number in range(30)), packed=True
        ),
        "zip: long name": zip_of(("x" * 300 + ".png", b"x")),
        "zip: file as folder": zip_of(("COVID", b"x"), ("COVID/images/1.png", b"x")),
        "zip: broken": overlapping[:-80],
        "zip: damaged": overlapping.replace(b"xxxx", b"zzzz", 1),
        "tar: parent": tar_of((member(up), b"x")),
        "tar: absolute": tar_of((member(str(outside)), b"x")),
        "tar: link, then through it": tar_of(
            (member("a", tarfile.SYMTYPE, str(outside.parent)), b""), (member(f"a/{outside.name}"), b"x")
        ),
        "tar: hard link": tar_of(scan, (member("b", tarfile.LNKTYPE, "/etc/hostname"), b"")),
        "tar: hard link within": tar_of(scan, (member("b", tarfile.LNKTYPE, SCAN), b"")),
        "tar: pipe": tar_of((member(SCAN, tarfile.FIFOTYPE), b"")),
        "tar: device": tar_of((member(SCAN, tarfile.CHRTYPE, devmajor=1, devminor=5), b"")),
        "tar: chain of links": tar_of(*long_chain()),
        "tar: same name twice": tar_of(scan, (member(SCAN), b"other")),
        "tar: bomb": gzip.compress(tar_of((member(SCAN), zeros))),
        "tar: endless name": gzip.compress(tar_of((member("x" * 5_000_000), b""), format=tarfile.GNU_FORMAT)),
        "tar: endless header": gzip.compress(
            tar_of((member("x", pax_headers={"comment": "x" * 5_000_000}), b""), format=tarfile.PAX_FORMAT)
        ),
        "tar: negative size": negative_size(),
        "tar: cut": gzip.compress(tar_of(scan))[:-20],
        "neither": b"Rar!\x1a\x07\x00",
    }


@pytest.fixture
def bounds(monkeypatch):
    """A megabyte stands for what is fit, so that bombs may be small."""
    monkeypatch.setattr(safe_archives, "ALWAYS_FIT", 1_000_000)


def test_no_hostile_archive_writes_anything(tmp_path, bounds, monkeypatch, injected):
    (tmp_path / "in").mkdir()
    archive = tmp_path / "archive"
    monkeypatch.chdir("/")
    archives = hostile(tmp_path / "outside")
    for name, content in archives.items():
        archive.write_bytes(content)
        started = time.monotonic()
        with pytest.raises(LungkerasError) as caught:
            fetch("covid", tmp_path / "in" / "source", archive=archive)
        assert time.monotonic() - started < 5, name
        assert {path.name for path in tmp_path.rglob("*")} == {"archive", "in"}, name
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 700, name
    injected("hostile archives", len(archives))


def test_rights_and_owners_of_an_archive_are_not_taken_over(tmp_path):
    archive = tmp_path / "archive"
    archive.write_bytes(tar_of((member(SCAN, mode=0o6777, uid=12345), b"x")))
    (tmp_path / "to").mkdir()
    safe_archives.unpack(archive, tmp_path / "to")
    about = (tmp_path / "to" / SCAN).stat()
    assert about.st_mode & 0o7111 == 0 and about.st_uid == os.getuid()


def test_what_kaggles_client_unpacks_goes_the_same_way(tmp_path, bounds, monkeypatch):
    resolver = pytest.importorskip("kagglehub.http_resolver")
    archive = tmp_path / "1.archive"
    (tmp_path / "in").mkdir()
    archives = hostile(tmp_path / "outside")
    before = zipfile.ZipFile.extractall, tarfile.TarFile.extractall
    monkeypatch.setattr(
        sys.modules["kagglehub"],
        "dataset_download",
        lambda handle, *, output_dir: resolver._extract_archive(str(archive), output_dir),
    )
    for name in ("tar: link, then through it", "tar: chain of links", "tar: bomb", "zip: bomb"):
        archive.write_bytes(archives[name])
        with pytest.raises(LungkerasError, match="expected only plain files"):
            fetch("covid", tmp_path / "in" / "source")
        assert {path.name for path in tmp_path.rglob("*")} == {"1.archive", "in"}, name
    assert before == (zipfile.ZipFile.extractall, tarfile.TarFile.extractall)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_honest_archive_of_kaggles_client_arrives(kind, tmp_path, monkeypatch):
    resolver = pytest.importorskip("kagglehub.http_resolver")
    source = write_covid(tmp_path / "published")
    archive = tmp_path / f"1.{kind}"
    files = [(str(path.relative_to(source)), path.read_bytes()) for path in source.rglob("*.png")]
    tarred = gzip.compress(tar_of(*((member(name), content) for name, content in files)))
    archive.write_bytes(zip_of(*files) if kind == "zip" else tarred)
    monkeypatch.setattr(
        sys.modules["kagglehub"],
        "dataset_download",
        lambda handle, *, output_dir: resolver._extract_archive(str(archive), output_dir),
    )
    to = fetch("covid", tmp_path / "source")
    assert {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*.png")} == dict(files)

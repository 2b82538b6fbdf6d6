"""Archives are untrusted: only plain files are written, only below the named folder, and only up to a size limit.

Every zip and tar goes through `unpack`, also those from Kaggle's client. Other zip files (models, arrays) are opened by
`plain_zip` and `read_arrays`.
"""

import contextlib
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from stat import S_IFMT, S_ISDIR, S_ISREG
from typing import IO

from lungkeras.system.errors import LungkerasError
from lungkeras.system.progress import progress
from lungkeras.system.text import printable
from lungkeras.system.untrusted.plain_files import size_of

# The largest of the collections has 112,120 scans and 45 GB; images hardly shrink when they are packed.
MOST_MEMBERS = 300_000
MOST_BYTES = 200 * 10**9
MOST_RATIO = 100
ALWAYS_FIT = 10**8  # bytes below which the ratio is not checked
DEEPEST = 50  # folders
LONGEST_NAME = 255  # bytes of a folder or a file, as most file systems have it
MOST_HEADER_BYTES = 10**6  # of a tar's long names and extended headers, which tarfile reads whole
BLOCK = 1 << 20
# Python bounds the output of one step for these; with bzip2 and LZMA, a step returns a whole block.
BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    OverflowError,
    LookupError,
)


def unpack(archive: Path | str, folder: Path | str) -> None:
    """Writes the files of a zip or tar archive below `folder`, with the rights of any new file.

    Raises LungkerasError if it is broken or no such archive; if a member is a link, a device or outside the folder, or
    two names differ only in case; or if there is too little space, or more than a collection could hold.
    """
    archive, folder = Path(archive), Path(folder)
    written: set[str] = set()
    total, room = 0, shutil.disk_usage(folder).free if folder.exists() else MOST_BYTES
    try:
        most = min(MOST_BYTES, max(ALWAYS_FIT, MOST_RATIO * size_of(archive)))
        for name, content in progress(_members(archive), description=f"unpacking {archive.name}"):
            if str(name).casefold() in written:
                raise _refused(archive, "the same name twice", str(name))
            written.add(str(name).casefold())
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                while block := content.read(BLOCK):
                    total += len(block)
                    if total > most:
                        raise _refused(archive, f"more than {most / 1e9:.1f} GB packed into it", str(name))
                    if total > room:
                        raise _refused(archive, f"more than the {room / 1e9:.1f} GB that are free", str(name))
                    file.write(block)
    except BROKEN as error:
        reason = getattr(error, "strerror", None) or str(error) or "it ends early"
        raise LungkerasError(
            f"expected {archive} to be a complete zip or tar archive and space to unpack it, found: "
            f"{printable(reason)}; download the archive again, or free some space"
        ) from None


def _refused(archive: Path, what: str, name: str) -> LungkerasError:
    return LungkerasError(
        f"expected only plain files in {archive}, found {what} ({printable(name[:200])!r}): download it "
        "again from its source"
    )


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """The safe name and the content of each file in the archive."""
    if archive.is_file() and zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            if members:  # before any of them is looked at, which takes seconds for so many
                _require_few(archive, len(members) - 1, members[-1].filename)
            for member in members:
                # Archives made outside Unix store no kind of file.
                kind = S_IFMT(member.external_attr >> 16)
                is_plain = not kind or S_ISREG(kind) or S_ISDIR(kind)
                # Some Windows programs separate folders by backslashes, which Python keeps on other systems.
                stored = member.filename.replace("\\", "/")
                name = _safe_name(archive, stored, is_plain)
                if not stored.endswith("/"):
                    if member.compress_type not in BOUNDED:
                        raise _refused(archive, "a file that is neither stored nor deflated", stored)
                    with opened.open(member) as content:
                        yield name, content
        return
    try:
        tar = tarfile.open(archive, tarinfo=_BoundedMember)  # noqa: SIM115 (closed below)
    except (tarfile.TarError, EOFError):
        raise LungkerasError(
            f"expected {archive} to be a complete zip or tar archive, found {_likely_kind(archive)}: download "
            "the archive again"
        ) from None
    with tar as opened:
        number = 0
        while member := opened.next():
            opened.members.clear()  # else it would keep all members in memory
            _require_few(archive, number, member.name)
            number += 1
            name = _safe_name(archive, member.name, (member.isfile() and not member.issparse()) or member.isdir())
            if member.isfile():
                yield name, opened.extractfile(member)


def _require_few(archive: Path, number: int, name: str) -> None:
    if number >= MOST_MEMBERS:
        raise _refused(archive, f"more than {MOST_MEMBERS:,} files and folders", name)


def _likely_kind(file: Path) -> str:
    with file.open("rb") as opened:
        start = opened.read(512).lstrip().lower()
    if not start:
        return "an empty file"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page (perhaps one that asks to sign in)"
    return "a zip that is cut short" if start.startswith(b"pk") else "neither, or one that is cut short"


class _BoundedMember(tarfile.TarInfo):
    """A tar member, checked for a negative size, which would be read forever, and an endless name.

    The map of a sparse member is read whole, however long it is; no collection has any.
    """

    def _proc_member(self, archive):
        if self.size < 0 or (self.size > MOST_HEADER_BYTES and not self.isreg()):
            raise ValueError(f"a header that claims {self.size:,} bytes")
        return super()._proc_member(archive)

    def _refuse_sparse(self, *_):
        raise ValueError("a sparse file")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _safe_name(archive: Path, name: str, is_plain: bool) -> PurePosixPath:
    path, elsewhere = PurePosixPath(name), PureWindowsPath(name)
    if not is_plain:
        raise _refused(archive, "a link or device", name)
    if path.is_absolute() or elsewhere.anchor or ".." in elsewhere.parts or "\0" in name:
        raise _refused(archive, "a name outside its folder", name)
    if any(len(part.encode(errors="surrogateescape")) > LONGEST_NAME for part in path.parts):
        raise _refused(archive, "a name longer than a folder can hold", name)
    if len(path.parts) > DEEPEST:
        raise _refused(archive, f"a file more than {DEEPEST} folders deep", name)
    return path


@contextlib.contextmanager
def plain_zip(file: Path | str | IO[bytes], methods: tuple[int, ...] = BOUNDED) -> Iterator[zipfile.ZipFile]:
    """An open zip whose members are packed by `methods`. Raises OSError, ValueError or zipfile.BadZipFile.

    Read its members with `read_member`: `ZipFile.read` reads everything, whatever size a member claims.
    """
    if isinstance(file, str | Path):
        size_of(file)
    with zipfile.ZipFile(file) as archive:
        if strange := next((member for member in archive.infolist() if member.compress_type not in methods), None):
            raise ValueError(f"{strange.filename[:80]!r} in it is compressed by an unexpected method")
        yield archive


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a member. Raises ValueError if it claims more than `most` bytes, or a wrong size."""
    claimed = archive.getinfo(name).file_size
    if claimed > most:
        raise ValueError(f"{name[:80]!r} in it declares {claimed:,} bytes")
    with archive.open(name) as content:
        data = content.read(claimed + 1)
    if len(data) != claimed:
        raise ValueError(f"{name[:80]!r} in it has another size than it declares")
    return data


@contextlib.contextmanager
def only_unpacker() -> Iterator[None]:
    """Within the block `extractall` of every zip and tar is `unpack`, whoever calls it.

    Kaggle's client unpacks its downloads: a tar by a filter that Python had to fix more than once, a zip without a
    limit.
    """
    kinds = (zipfile.ZipFile, tarfile.TarFile)
    before = [kind.extractall for kind in kinds]

    def extractall(opened, path=".", *_, **__) -> None:
        name = opened.filename if isinstance(opened, zipfile.ZipFile) else opened.name
        unpack(name, path)

    try:
        for kind in kinds:
            kind.extractall = extractall
        yield
    finally:
        for kind, original in zip(kinds, before, strict=True):
            kind.extractall = original

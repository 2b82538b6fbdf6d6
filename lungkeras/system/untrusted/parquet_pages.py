"""How much the pages of a parquet file unpack to, as each claims before its content: what a reader will allocate.

A page begins with a header in Thrift's compact protocol, whose second and third fields are its sizes in bytes:
github.com/apache/parquet-format, src/main/thrift/parquet.thrift, PageHeader; github.com/apache/thrift,
doc/specs/thrift-compact-protocol.md. The footer claims sizes too, but a reader does not compare them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import BinaryIO

MOST_PAGES = 200_000
LONGEST_HEADER = 16_000_000  # bytes, which the reader of Arrow accepts too
FIRST_READ = 4096
UNPACKED, PACKED = 2, 3  # numbers of fields
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
DEEPEST = 8


class _TooShortError(ValueError):
    """The bytes end within the header."""


def unpacked_bytes(opened: BinaryIO, chunks: Iterable[tuple[int, int]]) -> int:
    """The bytes that all pages of a file claim to unpack to; `chunks` are (first byte, length) of each column's pages.

    Raises ValueError if a header can't be read, or there are too many.
    """
    total, pages = 0, 0
    for start, length in chunks:
        place = start
        while place < start + length:
            header, sizes = _header(opened, place)
            packed, unpacked = sizes.get(PACKED, -1), sizes.get(UNPACKED, -1)
            if packed < 0 or unpacked < 0:
                raise ValueError("a page of it has no size")
            total, pages, place = total + unpacked, pages + 1, place + header + packed
            if pages > MOST_PAGES:
                raise ValueError(f"it holds more than {MOST_PAGES:,} pages")
    return total


def _header(opened: BinaryIO, place: int) -> tuple[int, dict[int, int]]:
    """(the length of a header in bytes, its whole numbers by field)."""
    size = FIRST_READ
    while True:
        opened.seek(place)
        content = opened.read(size)
        try:
            return _struct(content, 0, 0)
        except _TooShortError:
            if len(content) < size or size > LONGEST_HEADER:
                raise ValueError("a page of it has a broken header") from None
            size *= 16


def _struct(content: bytes, at: int, depth: int) -> tuple[int, dict[int, int]]:
    """(where a struct ends, its fields that are whole numbers)."""
    if depth > DEEPEST:
        raise ValueError("a page of it has a broken header")
    found, field = {}, 0
    while True:
        at, byte = _byte(content, at)
        kind = byte & 15
        if byte == 0:
            return at, found
        if byte >> 4:
            field += byte >> 4
        else:
            at, field = _signed(content, at)
        if kind in (I16, I32, I64):
            at, found[field] = _signed(content, at)
        else:
            at = _after(content, at, kind, depth)


def _after(content: bytes, at: int, kind: int, depth: int) -> int:
    """Where a value ends that is no whole number; true and false are in the kind."""
    if kind in (TRUE, FALSE):
        return at
    if kind == BYTE:
        return _byte(content, at)[0]
    if kind == DOUBLE:
        return _byte(content, at + 7)[0]
    if kind == BINARY:
        at, length = _number(content, at)
        return _byte(content, at + length - 1)[0] if length else at
    if kind == STRUCT:
        return _struct(content, at, depth + 1)[0]
    raise ValueError("a page of it has a broken header")  # a header of a page has no list, set or map


def _byte(content: bytes, at: int) -> tuple[int, int]:
    if at >= len(content):
        raise _TooShortError
    return at + 1, content[at]


def _number(content: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first; the highest bit says that another byte follows."""
    value, shift = 0, 0
    while shift < 64:
        at, byte = _byte(content, at)
        value |= (byte & 127) << shift
        if byte < 128:
            return at, value
        shift += 7
    raise ValueError("a page of it has a broken header")


def _signed(content: bytes, at: int) -> tuple[int, int]:
    """A number whose lowest bit is its sign."""
    at, value = _number(content, at)
    return at, (value >> 1) ^ -(value & 1)

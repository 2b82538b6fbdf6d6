"""A few elements of a DICOM file's header, for collections that record some metadata only there."""

import io
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword

MOST_BYTES = 1 << 16  # of a header; that of a scan takes a few kilobytes


def header_words(file: Path | str, keywords: tuple[str, ...]) -> dict[str, str]:
    """The elements of these keywords, as text; "" for a missing one, and for all if the file is not DICOM.

    Nothing else is parsed, and no pixel is read. The reason why a file can't be read is reported when it is decoded.
    """
    try:
        with open(file, "rb") as opened:
            start = io.BytesIO(opened.read(MOST_BYTES))
        header = pydicom.dcmread(start, stop_before_pixels=True, specific_tags=list(keywords))
        return {keyword: _text(header, keyword) for keyword in keywords}
    except Exception:  # a damaged file ends in any of a dozen classes
        return dict.fromkeys(keywords, "")


def _text(header: pydicom.Dataset, keyword: str) -> str:
    if keyword not in header:
        return ""
    value = header.get_item(tag_for_keyword(keyword)).value
    if isinstance(value, bytes) and len(value) == 2 and pydicom.datadict.dictionary_VR(keyword) == "US":
        return str(header[keyword].value)
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip(" \0")


def size_of(file: Path | str) -> tuple[int, int] | None:
    """(height, width) of a DICOM file's image in pixels, None if its header does not have them."""
    words = header_words(file, ("Rows", "Columns"))
    sides = tuple(int(words[name]) for name in ("Rows", "Columns") if words[name].isdecimal())
    return sides if len(sides) == 2 and all(sides) else None

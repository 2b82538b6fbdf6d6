"""The elements of a DICOM file that describe pixels, parsed within bounds; those of the patient are never read."""

import io
import zlib

import pydicom
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from lungkeras.datasets.scans.opencv import Unreadable

# A strict reader quotes odd values in its warnings.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

REQUIRED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
ELEMENTS = [
    *REQUIRED,
    *("NumberOfFrames", "PlanarConfiguration", "PixelData", "FloatPixelData", "DoubleFloatPixelData"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]
TAGS = [tag_for_keyword(name) for name in ELEMENTS]
PIXELS = tag_for_keyword("PixelData")
MOST_INFLATED = 256_000_000  # bytes of a deflated file, as of any other
INFLATED_AT_ONCE = 1 << 20
MOST_READS = 100_000  # reads by pydicom, one or two for each element or item


def header_of_pixels(data: bytes) -> Dataset:
    """The required elements, as stored in the file, and its transfer syntax."""
    try:
        stream = _Counted(data)
        stream.seek(132 if data[128:132] == b"DICM" else 0)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        syntax = text_of(meta, "TransferSyntaxUID")
        content = data[stream.tell() :]
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            content = _inflated(content)
        implicit, little = _encoding(syntax, content)
        found = []  # truncated elements are dropped silently
        header = read_dataset(
            _Counted(content), implicit, little, stop_when=lambda tag, *_: found.append(tag), specific_tags=TAGS
        )
        if PIXELS in found and PIXELS not in header:
            raise Unreadable("DICOM whose pixels are incomplete")
    except Unreadable:
        raise
    except Exception as error:
        if isinstance(error.__context__, Unreadable):  # pydicom takes any of these for the end of the file
            raise error.__context__ from None
        raise Unreadable("damaged DICOM (it can't be parsed)") from error
    header.set_original_encoding(implicit, little)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax or _native(implicit, little))
    return header


class _Counted(io.BytesIO):
    """The bytes of a file, with a limit on the number of reads by pydicom: each empty item takes a kilobyte."""

    asked = 0

    def read(self, *given) -> bytes:
        self.asked += 1
        if self.asked > MOST_READS:
            raise Unreadable("DICOM of more elements than any scan has")
        return super().read(*given)


def _inflated(content: bytes) -> bytes:
    packed, inflated = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    try:
        while not packed.eof and (content or packed.unconsumed_tail):
            step = packed.decompress(packed.unconsumed_tail or content, INFLATED_AT_ONCE)
            content = b""
            if inflated.tell() + len(step) > MOST_INFLATED:
                raise Unreadable(f"DICOM that inflates to more than {MOST_INFLATED // 1_000_000} MB")
            inflated.write(step)
    except zlib.error as error:
        raise Unreadable("damaged DICOM (its deflated data can't be inflated)") from error
    if not packed.eof:
        raise Unreadable("DICOM whose deflated data is incomplete")
    return inflated.getvalue()


def _encoding(syntax: str, content: bytes) -> tuple[bool, bool]:
    """(whether value representations are implicit, whether the order is little-endian), from the data if not stated."""
    if syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        return syntax == uid.ImplicitVRLittleEndian, syntax != uid.ExplicitVRBigEndian
    if syntax:
        return False, True
    implicit = not (content[4:6].isalpha() and content[4:6].isupper())
    return implicit, implicit or int.from_bytes(content[:2], "little") < 0x400


def _native(implicit: bool, little: bool) -> str:
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian


def value_of(source: Dataset, name: str):
    """The value of an element, as stored bytes if not parsed yet; None if absent."""
    element = source.get_item(tag_for_keyword(name)) if name in source else None
    return None if element is None else element.value


def text_of(source: Dataset, name: str) -> str:
    value = value_of(source, name)
    value = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return value.strip(" \0")


def numbers_of(source: Dataset, name: str) -> list[float | None]:
    """The numbers of a decimal or integer string; None for each that is empty or not a number (e.g. with a comma)."""
    value = value_of(source, name)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip(" \0").split("\\")
    elif value is None or isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return [number_in(str(one)) for one in value]


def number_in(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

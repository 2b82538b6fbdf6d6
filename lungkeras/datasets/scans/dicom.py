"""One DICOM file -> one grey image of 8 bits, as a viewer shows it: rescaled, windowed, dense tissue in white.

Only the elements that describe pixels are parsed; those of the patient are never read, so none can leak.
"""

import io
import zlib

import numpy as np
import pydicom
from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder
from pydicom.uid import UID, UID_dictionary

from lungkeras.datasets.scans.compressed import decode_frame, decode_rle
from lungkeras.datasets.scans.opencv import MOST_PIXELS, Unreadable, cv2

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
UNDEFINED = 0xFFFFFFFF
NATIVE = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
    uid.DeflatedExplicitVRLittleEndian,
)
GREY = ("MONOCHROME1", "MONOCHROME2")
LUMA = ("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")  # the first of three samples is the grey value
COLOURS = ("RGB", *LUMA)


def decode_dicom(data: bytes) -> np.ndarray:
    """The pixels of a DICOM file (PS3.10) with one frame, as uint8 of shape (height, width) in [0, 255].

    Stored values become values by rescale slope and intercept, 1 and 0 where absent, or by a modality LUT; and grey
    levels by the first window, or by a VOI LUT from its least to its greatest entry. An enhanced object has them
    in its functional groups. Without a window, 8 bits are taken as they are; with more bits, the minimum becomes black
    and the maximum white; padding is black. MONOCHROME1, where the minimum is white, and the presentation LUT shape
    INVERSE are inverted, once. Colour becomes its luma.

    Supported are uncompressed, deflated, RLE and 8-bit JPEG pixels, and with the extra `dicom` JPEG of more bits,
    lossless JPEG, JPEG-LS and JPEG 2000. Raises Unreadable with the reason for anything else.
    """
    try:
        header = _header(data)
        if flaw := _flaw(header):
            raise Unreadable(flaw)
        pixels, bits = _pixels(header)
        if int(header.SamplesPerPixel) == 1:
            return _grey(header, pixels, bits)
        return pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels, alpha=255 / ((1 << bits) - 1))
    except (Unreadable, MemoryError):
        raise
    except Exception as error:
        # A damaged file raises any of a dozen exceptions, whose messages may quote patient data.
        raise Unreadable("damaged DICOM") from error


def _header(data: bytes) -> Dataset:
    """The required elements, as stored in the file, and its transfer syntax."""
    try:
        stream = _Counted(data)
        stream.seek(132 if data[128:132] == b"DICM" else 0)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        syntax = _text(meta, "TransferSyntaxUID")
        content = data[stream.tell() :]
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            content = _inflated(content)
        implicit, little = _encoding(syntax, content)
        found = []  # truncated elements are dropped silently
        header = read_dataset(
            _Counted(content), implicit, little, stop_when=lambda tag, *_: found.append(tag), specific_tags=TAGS
        )
        if PIXELS in found and PIXELS not in header:
            raise Unreadable("DICOM whose pixels are not whole")
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
        raise Unreadable("damaged DICOM (its deflated data can not be inflated)") from error
    if not packed.eof:
        raise Unreadable("DICOM whose deflated data is not whole")
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


def _value(source: Dataset, name: str):
    """The value of an element, as stored bytes if not parsed yet; None if absent."""
    element = source.get_item(tag_for_keyword(name)) if name in source else None
    return None if element is None else element.value


def _text(source: Dataset, name: str) -> str:
    value = _value(source, name)
    value = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return value.strip(" \0")


def _numbers(source: Dataset, name: str) -> list[float | None]:
    """The numbers of a decimal or integer string; None for each that is empty or not a number (e.g. with a comma)."""
    value = _value(source, name)
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip(" \0").split("\\")
    elif value is None or isinstance(value, str) or not hasattr(value, "__iter__"):
        value = [value]
    return [_number(str(one)) for one in value]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _flaw(header: Dataset) -> str | None:
    """Why the file is not a single image that can be read here, in a few words; None if it is."""
    if "PixelData" not in header:
        floats = "FloatPixelData" in header or "DoubleFloatPixelData" in header
        return "DICOM of floating-point pixels, which is not read" if floats else "DICOM without an image"
    for name in REQUIRED:
        if not _value(header, name) and _value(header, name) != 0:
            return f"DICOM without {name}"
    frames = _numbers(header, "NumberOfFrames")[0] if "NumberOfFrames" in header else 1
    if frames not in (None, 0, 1):
        return f"DICOM of {frames:.0f} frames, expected one; split it into single frames"
    if (size := int(header.Rows) * int(header.Columns)) > MOST_PIXELS:
        return "too many pixels"
    if size == 0:
        return "no pixels"
    bits, stored = int(header.BitsAllocated), int(header.BitsStored)
    if bits not in (8, 16) or not 0 < stored <= bits:
        return f"DICOM of {stored} bits stored in {bits} a sample, expected 8 or 16 bits"
    if int(header.HighBit) >= bits:
        return f"DICOM whose HighBit is not within its {bits} bits"
    colours = _text(header, "PhotometricInterpretation")
    if colours not in {1: GREY, 3: COLOURS}.get(int(header.SamplesPerPixel), ()):
        return f"DICOM that is neither grey nor RGB{' (a palette)' if colours == 'PALETTE COLOR' else ''}"
    return None


def _pixels(header: Dataset) -> tuple[np.ndarray, int]:
    """Stored values of one sample per pixel, unsigned (height, width), and how many bits of each are used.

    Colour is already converted to luma.
    """
    shape, samples = (int(header.Rows), int(header.Columns)), int(header.SamplesPerPixel)
    syntax, colours = header.file_meta.TransferSyntaxUID, _text(header, "PhotometricInterpretation")
    element = header.get_item("PixelData")
    length = element.length if isinstance(element, RawDataElement) else None
    encapsulated = element.is_undefined_length if length is None else length == UNDEFINED
    bits = int(header.BitsAllocated)
    if not encapsulated:
        if syntax not in NATIVE:
            raise Unreadable(f"DICOM that says its pixels are in {_name(syntax)}, and holds others")
        pixels = _native_pixels(header)
    else:
        try:
            frame = get_frame(element.value, 0, number_of_frames=1)
        except Exception as error:
            raise Unreadable("DICOM whose pixels are not whole") from error
        if syntax == uid.RLELossless:
            pixels = decode_rle(frame, shape, samples, bits // 8)
        else:
            pixels, bits, colours = decode_frame(frame, shape, colours, _name(syntax))
    if pixels.ndim == 3:
        luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if colours == "RGB" else np.ascontiguousarray(pixels[..., 0])
        pixels = luma
    return pixels, bits


def _name(syntax: UID) -> str:
    return syntax.name if syntax in UID_dictionary else "an unknown transfer syntax"


def _native_pixels(header: Dataset) -> np.ndarray:
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        header.file_meta.TransferSyntaxUID = syntax = uid.ExplicitVRLittleEndian
    try:
        pixels, _ = get_decoder(syntax).as_array(header, index=0, raw=True, correct_unused_bits=False)
    except (ValueError, AttributeError) as error:
        raise Unreadable("DICOM whose pixels are not whole") from error
    return pixels.astype(f"u{pixels.itemsize}", copy=False)


def _grey(header: Dataset, pixels: np.ndarray, bits: int) -> np.ndarray:
    # Stored values are few: the result for each is computed once, in a lookup table for the image.
    places = np.ascontiguousarray(pixels)
    stored = _stored(header, bits, places.dtype)
    shown = cv2.calcHist([places], [0], None, [len(stored)], [0, len(stored)]).ravel() > 0
    padding = _padding(header, stored, places.dtype)
    sources = [header, *_functional_groups(header)]
    values = _modality(sources, stored)
    if window := _window(sources):
        share = _windowed(values, *window)
    elif table := _first_item(sources, "VOILUTSequence"):
        entries = _looked_up(table, "VOILUTSequence", values)
        least, greatest = _entries(table, "VOILUTSequence")[2]
        share = (entries - least) / max(greatest - least, 1)
    else:
        as_it_is = (
            int(header.BitsStored) == 8 and not _signed(header) and not _first_item(sources, "ModalityLUTSequence")
        )
        range_of = values if as_it_is else values[shown & ~padding]
        least, greatest = (range_of.min(), range_of.max()) if range_of.size else (0, 1)
        share = np.clip((values - least) / max(greatest - least, 1e-9), 0, 1)
    inverse = _text(header, "PresentationLUTShape") == "INVERSE"
    if inverse or _text(header, "PhotometricInterpretation") == "MONOCHROME1":
        share = 1 - share
    table = np.rint(share * 255).astype(np.uint8)
    table[padding] = 0
    return table[places]


def _signed(header: Dataset) -> bool:
    return int(header.PixelRepresentation) == 1


def _stored(header: Dataset, coded: int, dtype: np.dtype) -> np.ndarray:
    """The stored value that each possible word of the pixels holds: BitsStored bits below HighBit (PS3.5, 8.1.1).

    `coded` are the bits of a word that are pixels; a compressed image has no more of them than it needs.
    """
    bits = min(int(header.BitsStored), coded)
    shift = max(0, int(header.HighBit) + 1 - bits) if int(header.HighBit) < coded else 0
    stored = np.arange(256**dtype.itemsize) >> shift & (1 << bits) - 1
    return np.where(stored >> bits - 1, stored - (1 << bits), stored) if _signed(header) else stored


def _padding(header: Dataset, stored: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Which stored values are padding: one, or all up to PixelPaddingRangeLimit (PS3.3, C.7.5.1.1.2)."""
    if not _value(header, "PixelPaddingValue"):
        return np.zeros(len(stored), bool)
    ends = [header[name].value for name in ("PixelPaddingValue", "PixelPaddingRangeLimit") if _value(header, name)]
    words = np.arange(len(stored)).astype(dtype)
    if _signed(header):
        words = words.view(f"i{dtype.itemsize}")
    least, greatest = (int(np.array(int(end(ends))).astype(words.dtype)) for end in (min, max))
    # The value may be that of the whole word, including bits that are not pixels.
    return ((least <= stored) & (stored <= greatest)) | ((least <= words) & (words <= greatest))


def _functional_groups(header: Dataset) -> list[Dataset]:
    """The values and window that an enhanced object gives for its one frame, or for all (PS3.3, C.7.6.16)."""
    groups = (_first_item([header], f"{of}FunctionalGroupsSequence") for of in ("PerFrame", "Shared"))
    macros = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
    return [item for group in groups if group for name in macros if (item := _first_item([group], name))]


def _first_item(sources: list[Dataset], name: str) -> Dataset | None:
    return next((source[name].value[0] for source in sources if name in source and source[name].value), None)


def _modality(sources: list[Dataset], stored: np.ndarray) -> np.ndarray:
    """Stored values -> values, by a table or by slope and intercept (PS3.3, C.11.1)."""
    if table := _first_item(sources, "ModalityLUTSequence"):
        return _looked_up(table, "ModalityLUTSequence", stored)
    slope, intercept = (_coefficient(sources, *of) for of in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    if slope == 0:
        raise Unreadable("DICOM with a RescaleSlope of 0")
    return stored * slope + intercept


def _coefficient(sources: list[Dataset], name: str, default: float) -> float:
    for source in sources:
        if text := _text(source, name).replace("None", ""):
            if (number := _number(text)) is None or not np.isfinite(number):
                raise Unreadable(f"DICOM whose {name} is not a number")
            return number
    return default


def _window(sources: list[Dataset]) -> tuple[float, float, str] | None:
    """(centre, width, function) of the first complete window; None without one."""
    for source in sources:
        if "WindowCenter" in source and "WindowWidth" in source:
            for window in zip(*(_numbers(source, name) for name in ("WindowCenter", "WindowWidth")), strict=False):
                if None not in window:
                    return *window, _text(source, "VOILUTFunction") or "LINEAR"
    return None


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Values -> [0, 1] by a window (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    if not np.isfinite([centre, width]).all() or width <= 0:
        raise Unreadable("DICOM with a window that is no range")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR":  # centre and width count whole values: both ends are within
        centre, width = centre - 0.5, max(width - 1, 1e-9)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _looked_up(item: Dataset, name: str, values: np.ndarray) -> np.ndarray:
    entries, first, _ = _entries(item, name)
    if first >= 1 << 15 and values.min() < 0:  # the first value has the sign of the values
        first -= 1 << 16
    return entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(int)].astype(float)


def _entries(item: Dataset, name: str) -> tuple[np.ndarray, int, tuple[int, int]]:
    """(entries, first value that is looked up, least and greatest entry) of a lookup table (PS3.3, C.11.1.1.1)."""
    count, first, bits = _words(item, "LUTDescriptor")[:3]
    count = count or 1 << 16
    entries = _words(item, "LUTData")
    if len(entries) < count <= 2 * len(entries) and bits <= 8:  # two entries in a word
        entries = entries.astype("<u2").view(np.uint8)
    if len(entries) < count:
        raise Unreadable(f"DICOM whose {name} is not whole")
    entries = entries[:count].astype(int)
    return entries, int(first), (entries.min(), entries.max())


def _words(item: Dataset, name: str) -> np.ndarray:
    """The 16-bit words of an element, unsigned, whether parsed or not."""
    element = item.get_item(tag_for_keyword(name))
    if isinstance(element.value, bytes):
        little = element.is_little_endian if isinstance(element, RawDataElement) else True
        value = element.value[: len(element.value) // 2 * 2]
        return np.frombuffer(value, "<u2" if little else ">u2").astype(int)
    return np.atleast_1d(np.array(element.value, dtype=int)) & 0xFFFF

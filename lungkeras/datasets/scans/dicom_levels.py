"""Stored values of a DICOM file -> grey levels: rescale, window, lookup tables, padding, inversion."""

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from lungkeras.datasets.scans.dicom_elements import number_in, numbers_of, text_of, value_of
from lungkeras.datasets.scans.opencv import Unreadable, cv2


def grey_levels(header: Dataset, pixels: np.ndarray, bits: int) -> np.ndarray:
    """Grey levels, uint8 (height, width), of stored values (height, width), of which `bits` are used."""
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
    inverse = text_of(header, "PresentationLUTShape") == "INVERSE"
    if inverse or text_of(header, "PhotometricInterpretation") == "MONOCHROME1":
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
    if not value_of(header, "PixelPaddingValue"):
        return np.zeros(len(stored), bool)
    ends = [header[name].value for name in ("PixelPaddingValue", "PixelPaddingRangeLimit") if value_of(header, name)]
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
        if text := text_of(source, name).replace("None", ""):
            if (number := number_in(text)) is None or not np.isfinite(number):
                raise Unreadable(f"DICOM whose {name} is not a number")
            return number
    return default


def _window(sources: list[Dataset]) -> tuple[float, float, str] | None:
    """(centre, width, function) of the first complete window; None without one."""
    for source in sources:
        if "WindowCenter" in source and "WindowWidth" in source:
            for window in zip(*(numbers_of(source, name) for name in ("WindowCenter", "WindowWidth")), strict=False):
                if None not in window:
                    return *window, text_of(source, "VOILUTFunction") or "LINEAR"
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
        raise Unreadable(f"DICOM whose {name} is incomplete")
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

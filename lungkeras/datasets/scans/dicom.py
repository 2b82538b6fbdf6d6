"""One DICOM file -> one grey image of 8 bits, as a viewer shows it: rescaled, windowed, dense tissue in white.

Only the elements that describe pixels are parsed; those of the patient are never read, so none can leak.
"""

import numpy as np
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, UID_dictionary

from lungkeras.datasets.scans.compressed import decode_frame, decode_rle
from lungkeras.datasets.scans.dicom_elements import REQUIRED, header_of_pixels, numbers_of, text_of, value_of
from lungkeras.datasets.scans.dicom_levels import grey_levels
from lungkeras.datasets.scans.opencv import MOST_PIXELS, Unreadable, cv2

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
        header = header_of_pixels(data)
        if flaw := _flaw(header):
            raise Unreadable(flaw)
        pixels, bits = _pixels(header)
        if int(header.SamplesPerPixel) == 1:
            return grey_levels(header, pixels, bits)
        return pixels if pixels.dtype == np.uint8 else cv2.convertScaleAbs(pixels, alpha=255 / ((1 << bits) - 1))
    except (Unreadable, MemoryError):
        raise
    except Exception as error:
        # A damaged file raises any of a dozen exceptions, whose messages may quote patient data.
        raise Unreadable("damaged DICOM") from error


def _flaw(header: Dataset) -> str | None:
    """Why the file is not a single image that can be read here, in a few words; None if it is."""
    if "PixelData" not in header:
        floats = "FloatPixelData" in header or "DoubleFloatPixelData" in header
        return "DICOM of floating-point pixels, which is not read" if floats else "DICOM without an image"
    for name in REQUIRED:
        if not value_of(header, name) and value_of(header, name) != 0:
            return f"DICOM without {name}"
    frames = numbers_of(header, "NumberOfFrames")[0] if "NumberOfFrames" in header else 1
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
    colours = text_of(header, "PhotometricInterpretation")
    if colours not in {1: GREY, 3: COLOURS}.get(int(header.SamplesPerPixel), ()):
        return f"DICOM that is neither grey nor RGB{' (a palette)' if colours == 'PALETTE COLOR' else ''}"
    return None


def _pixels(header: Dataset) -> tuple[np.ndarray, int]:
    """Stored values of one sample per pixel, unsigned (height, width), and how many bits of each are used.

    Colour is already converted to luma.
    """
    shape, samples = (int(header.Rows), int(header.Columns)), int(header.SamplesPerPixel)
    syntax, colours = header.file_meta.TransferSyntaxUID, text_of(header, "PhotometricInterpretation")
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
            raise Unreadable("DICOM whose pixels are incomplete") from error
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
        raise Unreadable("DICOM whose pixels are incomplete") from error
    return pixels.astype(f"u{pixels.itemsize}", copy=False)

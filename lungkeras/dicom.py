"""One DICOM file -> one grey image of 8 bits, as a viewer shows it: rescaled, windowed, white where rays were stopped.

Only the elements that describe pixels are parsed; those of the patient are never read, so that none can be passed on.
"""

import io

import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from lungkeras.jpeg import decode_jpeg, jpeg_flaw
from lungkeras.opencv import MOST_PIXELS, Unreadable, cv2

# A strict reader complains of odd values by quoting them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

ELEMENTS = [
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
]
PLAIN = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
JPEGS = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}
GREY = ("MONOCHROME1", "MONOCHROME2")


def decode_dicom(data: bytes) -> np.ndarray:
    """The pixels of a DICOM file (PS3.10) with one frame, as uint8 of shape (height, width) in [0, 255].

    Stored values become values by rescale slope and intercept (or a modality LUT), and grey levels by the first window
    (or a VOI LUT). Without a window, 8 bits are taken as they are, and of more the least value becomes black, the
    greatest white; padding is black. MONOCHROME1, where the least value is white, is inverted. RGB becomes its luma.

    Read are uncompressed and 8-bit JPEG pixels. Raises Unreadable with the reason for all else.
    """
    try:
        header = _header(data)
        if flaw := _flaw(header):
            raise Unreadable(flaw)
        pixels = _pixels(header)
        if pixels.ndim == 3:
            return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return _grey(header, pixels)
    except Unreadable:
        raise
    except Exception as error:
        # A damaged file ends in any of a dozen classes, and their texts may quote what it says of the patient.
        raise Unreadable("damaged DICOM") from error


def _header(data: bytes) -> pydicom.Dataset:
    # The deflated syntax is unpacked whole while reading, whatever it unpacks to.
    if uid.DeflatedExplicitVRLittleEndian.encode() in data[:4096]:
        raise Unreadable("DICOM in the deflated syntax, which is not read; convert it to Explicit VR Little Endian")
    try:
        return pydicom.dcmread(io.BytesIO(data), specific_tags=ELEMENTS)
    except Exception as error:
        raise Unreadable("damaged DICOM (it can't be parsed)") from error


def _flaw(header: pydicom.Dataset) -> str | None:
    """What keeps the file from being one image that is read here, in a few words; None if nothing does."""
    if "PixelData" not in header:
        return "DICOM without an image"
    if (frames := int(header.get("NumberOfFrames") or 1)) != 1:
        return f"DICOM of {frames} frames, expected one; split it into single frames"
    if (size := int(header.Rows) * int(header.Columns)) > MOST_PIXELS:
        return "too many pixels"
    if size == 0:
        return "no pixels"
    colours, bits = header.PhotometricInterpretation, int(header.BitsAllocated)
    if header.SamplesPerPixel == 1 and colours not in GREY:
        return "DICOM that is neither grey nor RGB"
    if bits not in (8, 16) or not 0 < int(header.BitsStored) <= bits:
        return "DICOM of other than 8 or 16 bits"
    syntax = header.file_meta.TransferSyntaxUID
    if syntax in JPEGS:
        return None if bits == 8 else "DICOM with JPEG of more than 8 bits, which is not read; decompress it"
    if syntax not in PLAIN:
        return "DICOM with compressed pixels of a kind that is not read; decompress it to Explicit VR Little Endian"
    if header.SamplesPerPixel != 1 and (bits != 8 or colours != "RGB"):
        return "DICOM that is neither grey nor RGB"
    return None


def _pixels(header: pydicom.Dataset) -> np.ndarray:
    """Stored values (height, width), or uint8 RGB (height, width, 3)."""
    shape = (int(header.Rows), int(header.Columns))
    if header.file_meta.TransferSyntaxUID in JPEGS:
        frame = get_frame(header.PixelData, 0, number_of_frames=1)
        frame = frame[: frame.rfind(b"\xff\xd9") + 2]  # frames are padded to an even length
        if reason := jpeg_flaw(frame):
            raise Unreadable(reason)
        pixels = decode_jpeg(frame)
    else:
        try:
            pixels = header.pixel_array
        except ValueError as error:
            raise Unreadable("DICOM whose pixels are not whole") from error
    if pixels.shape[:2] != shape:
        raise Unreadable("DICOM whose pixels do not have the size that it states")
    return pixels


def _grey(header: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    # Stored values are few: what becomes of each is worked out once, in a table by which the image is looked up.
    places = np.ascontiguousarray(pixels).view(f"u{pixels.itemsize}")
    stored = np.arange(256**pixels.itemsize).astype(places.dtype).view(pixels.dtype)
    shown = cv2.calcHist([places], [0], None, [len(stored)], [0, len(stored)]).ravel() > 0
    padding = stored == header.PixelPaddingValue if header.get("PixelPaddingValue") is not None else ~shown
    values = apply_modality_lut(stored, header)
    if _has_window(header):
        share = _windowed(values.astype(float), header)
    else:
        values = apply_voi_lut(values, header).astype(float)
        as_it_is = header.BitsStored == 8 and not (header.get("ModalityLUTSequence") or header.get("VOILUTSequence"))
        range_of = values if as_it_is and pixels.dtype == np.uint8 else values[shown & ~padding]
        least, greatest = (range_of.min(), range_of.max()) if range_of.size else (0, 1)
        share = np.clip((values - least) / max(greatest - least, 1e-9), 0, 1)
    if header.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    table = np.rint(share * 255).astype(np.uint8)
    table[padding] = 0
    return table[places]


def _has_window(header: pydicom.Dataset) -> bool:
    return all(header.get(name) not in (None, "", []) for name in ("WindowCenter", "WindowWidth"))


def _windowed(values: np.ndarray, header: pydicom.Dataset) -> np.ndarray:
    """Values -> [0, 1] by the first window of the file (PS3.3, C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = (np.atleast_1d(header[name].value).astype(float)[0] for name in ("WindowCenter", "WindowWidth"))
    function = header.get("VOILUTFunction") or "LINEAR"
    if not np.isfinite([centre, width]).all() or width <= 0:
        raise Unreadable("DICOM with a window that is no range")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR":  # centre and width count whole values: both ends are within
        centre, width = centre - 0.5, max(width - 1, 1e-9)
    return np.clip((values - centre) / width + 0.5, 0, 1)

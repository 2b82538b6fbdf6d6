"""A grey image -> the bytes of a file, in forms in which collections publish theirs: DICOM, and PNG with a palette."""

import io
import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, JPEGBaseline8Bit, generate_uid

TURN, SHIFT = 101, 7  # from grey levels to indices of a palette; 101 is odd, so each level has its own index


def dicom_file(
    image: np.ndarray, name: str, elements: Mapping[str, object], *, bits: int = 8, jpeg: bool = False
) -> bytes:
    """A DICOM file of a uint8 image (height, width): `bits` stored of 8 or 16, or JPEG of 8.

    `elements` are {keyword: value}; with PhotometricInterpretation MONOCHROME1 the values are inverted. `name` decides
    the UIDs.
    """
    values = image.astype(np.uint32) * ((1 << bits) - 1) // 255
    if elements.get("PhotometricInterpretation") == "MONOCHROME1":
        values = ((1 << bits) - 1) - values
    file = Dataset()
    file.file_meta = FileMetaDataset()
    file.file_meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[name])
    described = {"Modality": "CR", "PhotometricInterpretation": "MONOCHROME2", **elements}
    described |= {"Rows": image.shape[0], "Columns": image.shape[1], "SamplesPerPixel": 1, "PixelRepresentation": 0}
    described |= {"BitsAllocated": 8 if bits == 8 else 16, "BitsStored": bits, "HighBit": bits - 1}
    for keyword, value in described.items():  # unchecked, as some published values are invalid
        file.add(DataElement(tag_for_keyword(keyword), dictionary_VR(keyword), value, validation_mode=IGNORE))
    if jpeg:
        encoded = cv2.imencode(".jpeg", values.astype(np.uint8))[1].tobytes()
        file.PixelData = encapsulate([encoded])
    else:
        content = values.astype(np.uint8 if bits == 8 else "<u2").tobytes()
        file.PixelData = content + bytes(len(content) % 2)
    file["PixelData"].VR = "OB" if jpeg or bits == 8 else "OW"
    written = io.BytesIO()
    file.save_as(written, enforce_file_format=True)
    return written.getvalue()


def grey_png(image: np.ndarray) -> bytes:
    """A PNG of a uint8 image (height, width)."""
    return cv2.imencode(".png", image)[1].tobytes()


def colour_png(image: np.ndarray) -> bytes:
    """A PNG of a uint8 image (height, width) in three equal colours."""
    return grey_png(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))


def palette_png(image: np.ndarray) -> bytes:
    """A PNG of a uint8 image (height, width) whose values are indices into a shuffled palette."""
    places = np.arange(256) * TURN + SHIFT & 255
    palette = np.zeros((256, 3), np.uint8)
    palette[places] = np.arange(256)[:, None]
    rows = np.pad(places[image].astype(np.uint8), ((0, 0), (1, 0)))  # each row begins with its filter, none
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, 3, 0, 0, 0)
    chunks = {b"IHDR": header, b"PLTE": palette.tobytes(), b"IDAT": zlib.compress(rows.tobytes()), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )

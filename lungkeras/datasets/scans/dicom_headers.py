"""Metadata from the header of a DICOM file: patient, age, sex, view, scanner.

A patient's number is never passed on: this module returns only a hash of it, the same for all scans of the patient.
Names, birth dates and all other elements are not read.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pydicom import uid
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_dataset

from lungkeras.datasets.scans import dicom_elements

ELEMENTS = {
    "PatientID": "patient",
    "PatientAge": "age",
    "PatientSex": "sex",
    "ViewPosition": "view",
    "StudyInstanceUID": "study",
    "ManufacturerModelName": "scanner",
    "SOPInstanceUID": "image",
}
TAGS = [tag_for_keyword(name) for name in ELEMENTS]
MOST_BYTES = 1 << 20  # of a file: headers come before the pixels, and those of the patient among the first
HASHED = ("patient", "study")
# Words that stand for a patient in headers without one.
NOBODY = frozenset(
    {"anonymous", "anonymized", "anonymised", "anonymous patient", "anon", "unknown", "none", "n/a", "0"}
)


def header_of(file: Path) -> dict[str, str]:
    """The metadata of a header, named as in the records: patient, age, sex, view, study, scanner, image; "" if absent.

    Patient and study are hashes. If the file can't be parsed as DICOM, all are "".
    """
    nothing = dict.fromkeys(ELEMENTS.values(), "")
    try:
        with open(file, "rb") as stream:
            data = stream.read(MOST_BYTES)
        stream = dicom_elements._Counted(data)
        stream.seek(132 if data[128:132] == b"DICM" else 0)
        meta = read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
        syntax = dicom_elements.text_of(meta, "TransferSyntaxUID")
        content = data[stream.tell() :]
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            content = dicom_elements._inflated(Path(file).read_bytes()[stream.tell() :])[:MOST_BYTES]
        implicit, little = dicom_elements._encoding(syntax, content)
        header = read_dataset(
            dicom_elements._Counted(content),
            implicit,
            little,
            stop_when=lambda tag, *_: tag > max(TAGS),
            specific_tags=TAGS,
        )
        found = {name: dicom_elements.text_of(header, element) for element, name in ELEMENTS.items()}
    except Exception:  # pydicom ends in any of a dozen classes on a damaged file, which the preparation reports
        return nothing
    found["patient"] = "" if found["patient"].casefold() in NOBODY else found["patient"]
    return found | {name: _hashed(found[name]) for name in HASHED}


def headers(files: Iterable[Path]) -> dict[str, list[str]]:
    """The result of `header_of` for each file, as columns."""
    found = [header_of(file) for file in files]
    return {name: [each[name] for each in found] for name in ELEMENTS.values()}


def _hashed(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()[:16] if number else ""

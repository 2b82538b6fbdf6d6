"""Compressed frames of DICOM: as pydicom reads them, and all of pydicom's own files, read or refused by the reason."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lungkeras.datasets.scans.compressed import decode_frame, decode_rle
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.datasets.scans.opencv import Unreadable
from lungkeras.system.errors import ScanError

EXTRA = all(importlib.util.find_spec(name) for name in ("libjpeg", "openjpeg", "jpeg_ls"))
needs_extra = pytest.mark.skipif(not EXTRA, reason="the extra dicom is not installed")
OWN = Path(pydicom.__file__).parent / "data" / "test_files"
store = importlib.util.find_spec("data_store")
STORE = Path(store.origin).parent / "data" if store else None  # of the package pydicom-data, 34 MB

# Why a file of pydicom or of pydicom-data is not read; one that is not listed is read.
REFUSED = {
    "without an image": "ExplVR_BigEndNoMeta ExplVR_LitEndNoMeta UN_sequence empty_charset_LEI no_meta_group_length "
    "priv_SQ reportsi reportsi_with_empty_number_tags rtplan rtplan_truncated rtstruct test-SR waveform_ecg",
    "without Rows": "meta_missing_tsyntax nested_priv_SQ",
    "frames, expected one": "SC_rgb_rle_16bit_2frame SC_rgb_rle_2frame SC_rgb_rle_32bit_2frame examples_ybr_color "
    "rtdose rtdose_expb rtdose_rle OBXXXX1A_2frame OBXXXX1A_expb_2frame OBXXXX1A_rle_2frame SC_rgb_16bit_2frame "
    "SC_rgb_2frame SC_rgb_32bit_2frame SC_rgb_expb_16bit_2frame SC_rgb_expb_2frame SC_rgb_expb_32bit_2frame "
    "color3d_jpeg_baseline eCT_Supplemental emri_small emri_small_RLE emri_small_big_endian liver liver_expb "
    "emri_small_jpeg_2k_lossless emri_small_jpeg_ls_lossless",
    "of 32 bits stored": "SC_rgb_rle_32bit badVR rtdose_1frame rtdose_expb_1frame rtdose_rle_1frame SC_rgb_32bit "
    "SC_rgb_expb_32bit",
    "of 1 bits stored": "liver_1frame liver_expb_1frame",
    "(a palette)": "examples_palette OBXXXX1A OBXXXX1A_expb OBXXXX1A_rle OT-PAL-8-face gdcm-US-ALOKA-16 "
    "gdcm-US-ALOKA-16_big",
    "incomplete": "MR_truncated emri_small_jpeg_2k_lossless_too_short",
    "the size that it states": "JPEG2000-embedded-sequence-delimiter",
    "neither PNG, JPEG nor DICOM (unknown)": "no_meta",
}
REASONS = {name: reason for reason, names in REFUSED.items() for name in names.split()}


def check(path: Path) -> None:
    reason = REASONS.get(path.stem)
    if reason:
        with pytest.raises(ScanError) as caught:
            decode_grey(path)
        assert reason in str(caught.value)
        return
    found = decode_grey(path).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
        if not EXTRA and dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return
        try:
            expected = dataset.pixel_array.astype(float)
        except (RuntimeError, NotImplementedError, ValueError):
            return  # which needs a decoder that is not here, or reads no such file
    if expected.ndim == 3:
        expected = expected @ [0.299, 0.587, 0.114]
    assert found.shape == expected.shape
    if dataset.BitsStored == 8 and "WindowWidth" not in dataset:
        assert np.abs(found - expected).mean() < 2


@needs_extra
@pytest.mark.parametrize("path", sorted(OWN.glob("*.dcm")), ids=lambda path: path.stem)
def test_every_file_of_pydicom_is_read_or_refused_by_its_reason(path):
    check(path)


@needs_extra
@pytest.mark.skipif(STORE is None, reason="pydicom-data is not installed (34 MB)")
@pytest.mark.parametrize("path", sorted(STORE.glob("*.dcm")) if STORE else [], ids=lambda path: path.stem)
def test_every_file_of_pydicom_data_is_read_or_refused_by_its_reason(path):
    check(path)


@needs_extra
@pytest.mark.skipif(STORE is None, reason="pydicom-data is not installed (34 MB)")
@pytest.mark.parametrize("film", ["RG1", "RG3"])
def test_a_film_is_the_same_uncompressed_and_in_reversible_jpeg_2000(film):
    assert np.array_equal(decode_grey(STORE / f"{film}_UNCR.dcm"), decode_grey(STORE / f"{film}_J2KR.dcm"))
    lossy, whole = (decode_grey(STORE / f"{film}_{kind}.dcm").astype(int) for kind in ("J2KI", "UNCI"))
    assert np.abs(lossy - whole).mean() < 1


@needs_extra
def test_lossless_codes_give_the_values_that_went_in():
    import jpeg_ls
    import openjpeg.utils

    values = np.random.default_rng(0).integers(0, 4096, (130, 140), dtype=np.uint16)
    jpeg2000 = openjpeg.utils.encode_array(values, bits_stored=12, photometric_interpretation=2)
    coded = bytes(jpeg_ls.encode_array(values))
    for frame in (bytes(jpeg2000), coded):
        found, _, _ = decode_frame(frame, values.shape, "MONOCHROME2", "")
        assert np.array_equal(found, values)
        with pytest.raises(Unreadable, match="the size that it states"):
            decode_frame(frame, (140, 130), "MONOCHROME2", "")
        for cut in (frame[: len(frame) // 2], frame[: len(frame) // 2] + b"\xff\xd9"):
            with pytest.raises(Unreadable, match=r"cut short|incomplete"):
                decode_frame(cut, values.shape, "MONOCHROME2", "")


def test_a_jpeg_2000_of_many_blocks_is_refused():
    size = b"".join(number.to_bytes(4) for number in (8000, 8000, 0, 0, 8000, 8000, 0, 0))
    header = b"\xff\x4f\xff\x51\0\x29\0\0" + size + b"\0\1\7\1\1"
    style = b"\xff\x52\0\x0c\0\0\0\1\0\0" + b"\0\0\0\0"  # no levels, blocks of 4 by 4
    with pytest.raises(Unreadable, match="too many blocks"):
        decode_frame(header + style + b"\xff\xd9", (8000, 8000), "MONOCHROME2", "")


def test_rle_is_bounded_by_the_size_of_the_image():
    runs = b"\x81\5" * 1000  # 128 bytes each
    frame = b"".join(number.to_bytes(4, "little") for number in (1, 64, *[0] * 14)) + runs
    assert np.array_equal(decode_rle(frame, (10, 10), 1, 1), np.full((10, 10), 5))
    with pytest.raises(Unreadable, match="incomplete"):
        decode_rle(frame[:-1998], (20, 10), 1, 1)
    with pytest.raises(Unreadable, match="segments"):
        decode_rle(frame, (10, 10), 1, 2)

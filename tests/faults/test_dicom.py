"""DICOM: shown as a viewer shows it, or refused in a sentence; nothing of the patient goes further."""

import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from layouts import write_scans, write_xray8
from measuring import measured
from mutations import chest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing

from lungkeras.datasets.scans.decoding import decode_grey, is_scan
from lungkeras.datasets.scans.opencv import MOST_PIXELS
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import ScanError

CANARY = "Canary^Patient"


def dicom(pixels: np.ndarray | bytes, syntax=uid.ExplicitVRLittleEndian, **elements) -> pydicom.Dataset:
    """A file of one grey frame; `elements` add to what describes it, or replace it; None leaves it out."""
    rows, columns = elements.pop("shape", getattr(pixels, "shape", (0, 0)))[:2]
    depth = getattr(pixels, "itemsize", 1) * 8
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = CANARY, CANARY, "19500101"
    dataset.InstitutionName, dataset.AccessionNumber = CANARY, CANARY[:16]
    described = {
        "Rows": rows, "Columns": columns, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": depth, "BitsStored": depth, "HighBit": depth - 1, "PixelRepresentation": 0,
    }  # fmt: skip
    for name, value in (described | elements).items():
        if value is not None:
            setattr(dataset, name, value)
    if pixels is not None:
        dataset.PixelData = pixels if isinstance(pixels, bytes) else pixels.tobytes()
        dataset["PixelData"].VR = "OB" if depth == 8 or isinstance(pixels, bytes) else "OW"
    return dataset


@pytest.fixture
def written(tmp_path):
    """A function: a data set, or bytes -> the path of a file that holds it."""

    def write(content):
        path = tmp_path / "scan.dcm"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def twelve_bits() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (30, 40), dtype=np.uint16)


def to_bytes(share: np.ndarray) -> np.ndarray:
    return np.rint(share * 255).astype(np.uint8)


def test_eight_bits_without_a_window_are_shown_as_they_are(written):
    pixels = np.random.default_rng(0).integers(20, 90, (30, 40), dtype=np.uint8)
    assert np.array_equal(decode_grey(written(dicom(pixels))), pixels)
    rescaled = dicom(pixels, RescaleSlope=2, RescaleIntercept=-100)
    assert np.array_equal(decode_grey(written(rescaled)), pixels)
    inverted = dicom(pixels, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(decode_grey(written(inverted)), 255 - pixels)


def test_more_bits_without_a_window_span_black_to_white(written, twelve_bits):
    least, greatest = int(twelve_bits.min()), int(twelve_bits.max())
    expected = to_bytes((twelve_bits - least) / (greatest - least))
    assert np.array_equal(decode_grey(written(dicom(twelve_bits, BitsStored=12, HighBit=11))), expected)
    inverted = dicom(twelve_bits, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(decode_grey(written(inverted)).astype(int) - (255 - expected)).max() <= 1
    turned = dicom(twelve_bits, BitsStored=12, HighBit=11, RescaleSlope=-1, RescaleIntercept=4095)
    assert np.abs(decode_grey(written(turned)).astype(int) - (255 - expected)).max() <= 1


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
def test_rescale_and_window_are_those_of_the_standard(function, signed, written, twelve_bits):
    pixels = twelve_bits.astype(np.int16) - 1000 if signed else twelve_bits
    dataset = dicom(
        pixels, PixelRepresentation=int(signed), RescaleSlope=0.5, RescaleIntercept=-200,
        WindowCenter=[600, 40], WindowWidth=[800, 400], VOILUTFunction=function,
    )  # fmt: skip
    values = apply_windowing(apply_modality_lut(pixels, dataset), dataset)
    # pydicom maps the window to the range of the rescaled values that the bits can hold.
    ends = np.array([-32768, 32767] if signed else [0, 65535]) * 0.5 - 200
    expected = to_bytes((values - ends[0]) / (ends[1] - ends[0]))
    assert np.abs(decode_grey(written(dataset)).astype(int) - expected).max() <= 1


def test_a_table_of_grey_levels_is_looked_up(written):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    dataset = dicom(pixels)
    item = pydicom.Dataset()
    item.LUTDescriptor, item.LUTData = [256, 0, 16], [(value * value) for value in range(256)]
    item["LUTData"].VR = item["LUTDescriptor"].VR = "US"
    dataset.VOILUTSequence = [item]
    expected = to_bytes(pixels.astype(float) ** 2 / 255**2)
    assert np.array_equal(decode_grey(written(dataset)), expected)


def test_padding_is_black_and_does_not_stretch_the_range(written, twelve_bits):
    padded = twelve_bits.copy()
    padded[:5] = 60000
    for colours, edge in (("MONOCHROME2", 0), ("MONOCHROME1", 0)):
        found = decode_grey(written(dicom(padded, PixelPaddingValue=60000, PhotometricInterpretation=colours)))
        assert (found[:5] == edge).all() and found[5:].min() <= 1 and found[5:].max() >= 254


@pytest.mark.parametrize(
    "syntax",
    [
        *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
        *(uid.DeflatedExplicitVRLittleEndian, uid.RLELossless),
    ],
    ids=str,
)
def test_every_uncompressed_syntax_gives_the_same_pixels(syntax, written, twelve_bits):
    expected = decode_grey(written(dicom(twelve_bits)))
    dataset = dicom(twelve_bits, syntax)
    if syntax == uid.ExplicitVRBigEndian:
        dataset.PixelData = twelve_bits.byteswap().tobytes()
    if syntax == uid.RLELossless:
        dataset = dicom(twelve_bits)
        dataset.compress(syntax)
    assert np.array_equal(decode_grey(written(dataset)), expected)


def test_jpeg_within_gives_the_pixels_that_pillow_gives(written):
    grey = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    for image, colours, samples in (
        (Image.fromarray(grey), "MONOCHROME2", 1),
        (Image.fromarray(np.dstack([grey] * 3)), "YBR_FULL_422", 3),
    ):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=95)
        coded = file.getvalue() + b"\0" * (len(file.getvalue()) % 2)
        dataset = dicom(
            encapsulate([coded]), uid.JPEGBaseline8Bit, shape=grey.shape,
            PhotometricInterpretation=colours, SamplesPerPixel=samples,
        )  # fmt: skip
        assert np.array_equal(decode_grey(written(dataset)), np.array(Image.open(file).convert("L")))
    dataset.BitsAllocated = 16  # of 8 bits nevertheless
    assert np.array_equal(decode_grey(written(dataset)), np.array(Image.open(file).convert("L")))
    dataset.Rows = 12
    with pytest.raises(ScanError, match="the size that it states"):
        decode_grey(written(dataset))


def shown(values: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """Values between their least and their greatest, as bytes."""
    share = (values - values.min()) / (values.max() - values.min())
    return to_bytes(1 - share if inverse else share)


def test_inversion_happens_once(written, twelve_bits):
    for shape, colours, inverse in (
        ("INVERSE", "MONOCHROME2", True),
        ("INVERSE", "MONOCHROME1", True),
        ("IDENTITY", "MONOCHROME1", True),
        ("IDENTITY", "MONOCHROME2", False),
    ):
        dataset = dicom(twelve_bits, PresentationLUTShape=shape, PhotometricInterpretation=colours)
        expected = shown(twelve_bits.astype(float), inverse=inverse).astype(int)
        assert np.abs(decode_grey(written(dataset)) - expected).max() <= 1


@pytest.mark.parametrize("ends", [(0, 10), (10, 0), (4000, 4095)])
@pytest.mark.parametrize("colours", ["MONOCHROME1", "MONOCHROME2"])
def test_every_value_between_the_limits_is_padding(ends, colours, written, twelve_bits):
    dataset = dicom(twelve_bits, PhotometricInterpretation=colours, BitsStored=12, HighBit=11)
    dataset.PixelPaddingValue, dataset.PixelPaddingRangeLimit = ends
    padding = (min(ends) <= twelve_bits) & (twelve_bits <= max(ends))
    found = decode_grey(written(dataset))
    expected = shown(twelve_bits[~padding].astype(float), inverse=colours == "MONOCHROME1")
    assert (found[padding] == 0).all() and np.abs(found[~padding].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("signed", [False, True])
def test_values_are_shifted_by_the_high_bit_and_other_bits_ignored(signed, written, twelve_bits):
    values = twelve_bits.astype(np.int32) - 2048 * signed
    noise = np.random.default_rng(1).integers(0, 16, values.shape)
    expected = shown(values.astype(float))
    for high, words in ((15, (values & 0xFFF) << 4 | noise), (11, (values & 0xFFF) | noise << 12)):
        dataset = dicom(words.astype(np.uint16), BitsStored=12, HighBit=high, PixelRepresentation=int(signed))
        assert np.array_equal(decode_grey(written(dataset)), expected)


def with_text(dataset: pydicom.Dataset, **texts: str) -> pydicom.Dataset:
    """Decimal strings as they may stand in a file, numbers or not."""
    for name, text in texts.items():
        dataset.add_new(name, "LO", text)
    return dataset


@pytest.mark.parametrize("window", [("2048,5", "4000,0"), ("", "4000"), ("2000", ""), ("a", "b")])
def test_a_window_that_is_not_a_number_is_ignored(window, written, twelve_bits):
    dataset = with_text(dicom(twelve_bits), WindowCenter=window[0], WindowWidth=window[1])
    assert np.array_equal(decode_grey(written(dataset)), decode_grey(written(dicom(twelve_bits))))


def test_the_first_complete_window_counts(written, twelve_bits):
    dataset = with_text(dicom(twelve_bits), WindowCenter="\\1000", WindowWidth="1\\500")
    expected = decode_grey(written(dicom(twelve_bits, WindowCenter=1000, WindowWidth=500)))
    assert np.array_equal(decode_grey(written(dataset)), expected)


def test_an_absent_or_empty_slope_is_1_and_intercept_0(written, twelve_bits):
    window = {"WindowCenter": 1000, "WindowWidth": 3000}
    for given, whole in (
        ({"RescaleIntercept": -1024}, {"RescaleSlope": 1, "RescaleIntercept": -1024}),
        ({"RescaleSlope": 2}, {"RescaleSlope": 2, "RescaleIntercept": 0}),
        ({"RescaleSlope": "", "RescaleIntercept": ""}, {}),
    ):
        expected = decode_grey(written(dicom(twelve_bits, **window, **whole)))
        assert np.array_equal(decode_grey(written(dicom(twelve_bits, **window, **given))), expected)


def table_of(entries: list[int], bits: int, first: int = 0) -> pydicom.Sequence:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return pydicom.Sequence([item])


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian], ids=str)
def test_a_modality_table_of_twelve_bits_is_looked_up(syntax, written, twelve_bits):
    entries = [4095 - value * value // 4095 for value in range(4096)]
    dataset = dicom(twelve_bits, syntax, ModalityLUTSequence=table_of(entries, 12), WindowCenter=2048, WindowWidth=4096)
    expected = to_bytes(np.array(entries)[twelve_bits] / 4095)
    assert np.abs(decode_grey(written(dataset)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("group", ["Shared", "PerFrame"])
def test_rescale_and_window_of_functional_groups_count(group, written, twelve_bits):
    expected = decode_grey(
        written(dicom(twelve_bits, RescaleSlope=2, RescaleIntercept=-50, WindowCenter=900, WindowWidth=1000))
    )
    values, window, item = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    values.RescaleSlope, values.RescaleIntercept, window.WindowCenter, window.WindowWidth = 2, -50, 900, 1000
    item.PixelValueTransformationSequence, item.FrameVOILUTSequence = [values], [window]
    dataset = dicom(twelve_bits, NumberOfFrames=1, **{f"{group}FunctionalGroupsSequence": [item]})
    assert np.array_equal(decode_grey(written(dataset)), expected)


def test_the_file_meta_alone_says_how_a_file_is_written(written, twelve_bits):
    whole = io.BytesIO()
    dicom(twelve_bits, StudyDescription="1.2.840.10008.1.2.1.99").save_as(whole, enforce_file_format=True)
    whole = whole.getvalue()
    unsaid = whole.replace(b"\2\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0", b"", 1)
    expected = shown(twelve_bits.astype(float))
    for content in (whole, whole[132:], unsaid):
        assert np.array_equal(decode_grey(written(content)), expected)


def test_colour_becomes_its_luma(written):
    colour = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    dataset = dicom(colour, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB")
    expected = np.array(Image.fromarray(colour).convert("L")).astype(int)
    assert np.abs(decode_grey(written(dataset)).astype(int) - expected).max() <= 1


def refused(twelve_bits) -> dict[str, tuple[pydicom.Dataset | bytes, str]]:
    """Name -> (what the file holds, what the error must say)."""
    whole = io.BytesIO()
    dicom(twelve_bits).save_as(whole, enforce_file_format=True)
    whole = whole.getvalue()
    deflated = io.BytesIO()
    dicom(twelve_bits, uid.DeflatedExplicitVRLittleEndian).save_as(deflated, enforce_file_format=True)
    deflated = deflated.getvalue()
    slope_of_letters = dicom(twelve_bits)
    slope_of_letters.add_new("RescaleSlope", "LO", "0,5")
    nested = b"".join(struct.pack("<HHHHLHHL", 8, 0x1140, 0x5153, 0, 2**32 - 1, 0xFFFE, 0xE000, 2**32 - 1) for _ in "x")
    return {
        "frames": (dicom(np.zeros((4, 5), np.uint8), NumberOfFrames=3), "of 3 frames, expected one"),
        "no image": (dicom(None, shape=(4, 5)), "without an image"),
        "no size": (dicom(twelve_bits, Rows=0), "no pixels"),
        "bomb": (dicom(twelve_bits, Rows=65000, Columns=65000), "too many pixels"),
        "palette": (dicom(np.zeros((4, 5), np.uint8), PhotometricInterpretation="PALETTE COLOR"), "neither grey"),
        "32 bits": (dicom(np.zeros((4, 5), np.uint32)), "8 or 16 bits"),
        "deflated": (deflated[: -len(deflated) // 4], "deflated data is incomplete"),
        "JPEG 2000": (dicom(encapsulate([b"\0\1"]), uid.JPEG2000, shape=(4, 5)), "in JPEG 2000.*not read"),
        "video": (dicom(encapsulate([b"\0\1"]), uid.MPEG2MPML, shape=(4, 5)), "in MPEG2.*not read"),
        **{
            f"without {name}": (dicom(twelve_bits, **{name: None}), f"without {name}")
            for name in ("PhotometricInterpretation", "BitsStored", "HighBit", "PixelRepresentation", "Rows")
        },
        "slope": (slope_of_letters, "RescaleSlope is not a number"),
        "JPEG of nothing": (dicom(encapsulate([b"\0\1"]), uid.JPEGBaseline8Bit, shape=(4, 5)), "JPEG"),
        "cut": (whole[:-100], "incomplete"),
        "cut in the header": (whole[:200], "DICOM"),
        "nothing behind the preamble": (whole[:132], "DICOM"),
        "window": (dicom(twelve_bits, WindowCenter=1, WindowWidth=0), "no range"),
        "nested without end": (whole[:132] + whole[132:340] + nested * 20000, "DICOM"),
    }


@pytest.mark.parametrize("name", refused(np.zeros((30, 40), np.uint16)))
def test_what_is_not_read_is_refused_by_its_reason(name, written, twelve_bits, injected):
    content, words = refused(twelve_bits)[name]
    path = written(content)
    with pytest.raises(ScanError, match=words) as caught:
        decode_grey(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    assert CANARY not in said
    injected("odd and damaged DICOM files", 1)


def test_a_flipped_bit_anywhere_ends_in_an_image_or_a_sentence(written, injected):
    whole = io.BytesIO()
    dicom(np.arange(64, dtype=np.uint8).reshape(8, 8), WindowCenter=30, WindowWidth=50).save_as(
        whole, enforce_file_format=True
    )
    random, whole = np.random.default_rng(0), bytearray(whole.getvalue())
    for _ in range(200):
        damaged = bytearray(whole)
        for place in random.integers(128, len(whole), 3):
            damaged[place] ^= 1 << int(random.integers(8))
        path = written(bytes(damaged))
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                image = decode_grey(path)
                assert image.dtype == np.uint8 and image.ndim == 2
            except ScanError as error:
                assert CANARY not in str(error)
        assert not any(CANARY in str(warning.message) for warning in warned)
    injected("odd and damaged DICOM files", 200)


def test_memory_is_a_small_multiple_of_the_pixels(written):
    pixels = np.random.default_rng(0).integers(0, 4096, (2000, 2500), dtype=np.uint16)
    path = written(dicom(pixels, WindowCenter=2000, WindowWidth=3000))
    tracemalloc.start()
    decode_grey(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * pixels.nbytes
    assert pixels.size < MOST_PIXELS


def test_dicom_is_known_by_its_first_bytes():
    assert is_scan(b"\0" * 128 + b"DICM") and is_scan(b"\xff\xd8\xff" + b"\0" * 128 + b"DICM")
    assert not is_scan(b"DICM") and not is_scan(b"\0" * 200)


def as_dicom(png: Path, **elements) -> Path:
    """The scan of a PNG as DICOM, beside it; the PNG is gone."""
    pixels = np.array(Image.open(png).convert("L"))
    dicom(pixels, **elements).save_as(png.with_suffix(".dcm"), enforce_file_format=True)
    png.unlink()
    return png.with_suffix(".dcm")


def canaries(folder: Path) -> list[Path]:
    """The files below a folder that hold a word of the patient."""
    words = (CANARY.encode(), CANARY.encode("utf-16-le"))
    return [file for file in folder.rglob("*") if file.is_file() and any(word in file.read_bytes() for word in words)]


@pytest.mark.parametrize("dataset", ["xray8", "pneumonia"])
def test_a_source_of_dicom_is_prepared_as_one_of_png_and_nothing_of_the_patient_is_kept(dataset, tmp_path):
    if dataset == "xray8":
        labels = ["Mass", "Effusion", "No Finding", "Nodule", "Atelectasis", "Pneumothorax", "Consolidation"]
        source = write_xray8(tmp_path / "source", {f"{n:08d}_000.png": labels[n % 7] for n in range(28)})
    else:
        names = [f"PNEUMONIA/person{n}_{'virus' if n % 2 else 'bacteria'}_1.png" for n in range(1, 11)]
        write_scans(tmp_path / "source" / "chest_xray" / "train", *names, *(f"NORMAL/IM-{n}.png" for n in range(1, 6)))
        source = tmp_path / "source"
    for place, path in enumerate(sorted(source.rglob("*.png"))):
        Image.fromarray(np.random.default_rng(place).integers(0, 256, (40, 50), dtype=np.uint8)).save(path)
    prepare_dataset(dataset, source, tmp_path / "png", size=32)
    for path in source.rglob("*.png"):
        as_dicom(path)
    assert len(canaries(source)) == len(list(source.rglob("*.dcm")))
    prepare_dataset(dataset, source, tmp_path / "dicom", size=32)
    for split in ("train", "val", "test"):
        found, expected = (np.load(tmp_path / kind / f"{split}.npy") for kind in ("dicom", "png"))
        np.testing.assert_array_equal(found, expected)
    assert not canaries(tmp_path / "dicom")


def test_predict_answers_for_dicom_as_for_png_and_says_nothing_of_the_patient(tmp_path, capfd):
    import keras

    from lungkeras import cli
    from lungkeras.models.files import save_model

    scans = keras.Input((32, 32, 1), dtype="uint8")
    x = keras.layers.Conv2D(2, 3)(keras.layers.Rescaling(1 / 255)(scans))
    x = keras.layers.GlobalAveragePooling2D()(x)
    save_model(keras.Model(scans, keras.layers.Dense(3, name="logits")(x)), tmp_path / "model.keras")
    Image.fromarray(chest()).save(tmp_path / "scan.png")
    answers = []
    for kind in ("png", "dcm"):
        out = tmp_path / kind
        given = as_dicom(tmp_path / "scan.png") if kind == "dcm" else tmp_path / "scan.png"
        heatmaps = ["--heatmaps", str(out / "heatmaps")] if keras.backend.backend() == "tensorflow" else []
        command = ["predict", str(tmp_path / "model.keras"), str(given)]
        assert cli.main([*command, "--csv", str(out / "answers.csv"), *heatmaps]) == 0
        answers.append(pd.read_csv(out / "answers.csv").drop(columns="file"))
    pd.testing.assert_frame_equal(*answers)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes((tmp_path / "scan.dcm").read_bytes()[:-100])
    assert cli.main(["predict", str(tmp_path / "model.keras"), str(tmp_path / "scan.dcm"), str(cut), "--json"]) == 1
    shown = capfd.readouterr()
    assert "cut.dcm: DICOM whose pixels are incomplete" in shown.err and '"predicted"' in shown.out
    assert CANARY not in shown.out + shown.err
    assert {path.name for path in canaries(tmp_path)} == {"scan.dcm", "cut.dcm"}


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    head = struct.pack("<HH", group, number) + kind
    return (
        head + (struct.pack("<HI", 0, len(value)) if kind in (b"OB", b"SQ") else struct.pack("<H", len(value))) + value
    )


def deflated_gigabytes() -> bytes:
    """Zeros behind five thousand bytes of file meta, which hide what they are packed by from a look at the start."""
    packer, block = zlib.compressobj(9, wbits=-15), bytes(1 << 20)
    packed = b"".join(packer.compress(block) for _ in range(600)) + packer.flush()
    meta = element(2, 1, b"OB", bytes(5000)) + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99")
    return bytes(128) + b"DICM" + meta + packed


def empty_items() -> bytes:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 500_000 + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1\0")
    return bytes(128) + b"DICM" + meta + struct.pack("<HH2sHI", 8, 0x1115, b"SQ", 0, 0xFFFFFFFF) + items


@pytest.mark.parametrize(
    "made, reason",
    [(deflated_gigabytes, "inflates to more than 256 MB"), (empty_items, "more elements than any scan has")],
)
def test_few_bytes_that_would_fill_memory_are_a_reason(made, reason, tmp_path, injected):
    file = tmp_path / "scan.dcm"
    file.write_bytes(made())
    done = measured("from lungkeras.datasets.scans.decoding import decode_grey\ndecode_grey(sys.argv[1])", file)
    assert reason in done.said and done.megabytes < 500 and done.seconds < 10
    injected("scans that would fill memory", 1)

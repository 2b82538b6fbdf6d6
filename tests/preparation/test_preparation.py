"""Whatever a file holds becomes one grey image or one sentence; a folder of files becomes one prepared dataset."""

import io
import json
import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from folder_contents import contents
from layouts import STUDY
from PIL import Image

from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.datasets.scans.opencv import cv2
from lungkeras.preparation import prepare
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.preparation.scan import preparation_steps, prepare_scan
from lungkeras.report.facts import dataset_facts
from lungkeras.system.errors import FolderError, RunError, ScanError, SourceError


@pytest.fixture
def grey() -> np.ndarray:
    """A smooth random image, uint8 (60, 80)."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (9, 9), 0)
    return cv2.normalize(blurred, None, 3, 250, cv2.NORM_MINMAX)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def written(tmp_path):
    """A function: bytes -> the path of a file that holds them."""

    def write(data: bytes, name: str = "scan.png"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


# What a file may hold


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1"])
def test_png_of_every_kind_gives_the_pixels_that_pillow_gives(mode, grey, written):
    image = Image.fromarray(grey).convert("RGB").quantize(256) if mode == "P" else Image.fromarray(grey).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(grey[::-1].copy()))  # alpha must not matter
    path = written(encoded(image, "PNG"))
    assert np.array_equal(decode_grey(path), np.array(image.convert("L")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
def test_grey_jpeg_gives_the_pixels_that_pillow_gives(options, grey, written):
    path = written(encoded(Image.fromarray(grey), "JPEG", quality=90, **options))
    assert np.array_equal(decode_grey(path), np.array(Image.open(path)))


def test_colour_becomes_its_luma(grey, written):
    colour = Image.fromarray(np.dstack([grey, grey[::-1], grey[:, ::-1]]))
    for data in (encoded(colour, "PNG"), encoded(colour, "JPEG", quality=95), encoded(colour.convert("CMYK"), "JPEG")):
        path = written(data)
        expected = np.array(Image.open(path).convert("L")).astype(int)
        assert np.abs(decode_grey(path).astype(int) - expected).max() <= 2


def test_sixteen_bits_are_scaled_by_their_full_range(written):
    levels = np.linspace(0, 65535, 4000).astype(np.uint16).reshape(40, 100)
    expected = np.rint(levels / 257).astype(np.uint8)
    for planes in (levels, np.dstack([levels] * 3), np.dstack([levels] * 4)):
        assert np.array_equal(decode_grey(written(cv2.imencode(".png", planes)[1].tobytes())), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_respected(kind, grey, written):
    orientation = Image.Exif()
    orientation[0x0112] = 6  # the camera was turned: show rotated by 90 degrees clockwise
    path = written(encoded(Image.fromarray(grey), kind, exif=orientation))
    assert np.array_equal(decode_grey(path), np.rot90(np.array(Image.open(path)), -1))


def test_the_name_of_a_file_does_not_matter(grey, written):
    assert decode_grey(written(encoded(Image.fromarray(grey), "JPEG"), "scan.png")).shape == grey.shape


# What is no scan


def png_of_size(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">II5B", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0")
    chunks = [header, data, b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


def broken(grey: np.ndarray) -> dict[str, tuple[bytes, str]]:
    """Name -> (content of a file, what the error must say)."""
    png = encoded(Image.fromarray(grey), "PNG")
    thumbnail = encoded(Image.fromarray(grey[:8, :8]), "JPEG")
    exif = b"Exif\0\0" + thumbnail  # holds an end-of-image marker of its own
    jpeg = encoded(Image.fromarray(np.tile(grey, (8, 8))), "JPEG", exif=exif)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0x10
    return {
        "empty": (b"", "empty file"),
        "text": (b"not an image\n" * 30, "neither PNG, JPEG nor DICOM"),
        "bitmap": (encoded(Image.fromarray(grey), "BMP"), "neither PNG, JPEG nor DICOM"),
        "truncated JPEG": (jpeg[: len(jpeg) * 3 // 4], "JPEG cut short"),
        "JPEG without its last byte": (jpeg[:-1], "JPEG cut short"),
        "JPEG header": (jpeg[:40], "JPEG cut short"),
        "truncated PNG": (png[: len(png) // 2], "PNG cut short"),
        "PNG without its end": (png[:-12], "PNG cut short"),
        "PNG signature": (png[:8], "PNG cut short"),
        "damaged PNG": (bytes(flipped), "checksum"),
        "PNG of no width": (png_of_size(0, 10), "no pixels"),
        "PNG without pixels": (png_of_size(10, 10), "can't be decoded"),
        "PNG of 400 megapixels": (png_of_size(20_000, 20_000), "too many pixels"),
    }


@pytest.mark.parametrize("name", list(broken(np.zeros((60, 80), np.uint8))))
def test_a_file_that_is_not_a_scan_is_refused_by_name_and_reason(name, grey, written):
    data, reason = broken(grey)[name]
    path = written(data, "the scan.png")
    with pytest.raises(ScanError, match=reason) as error:
        prepare_scan(path, 32)
    assert "the scan.png" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_jpeg_cut_anywhere_is_refused(grey, written):
    jpeg = encoded(Image.fromarray(grey), "JPEG")
    for length in range(len(jpeg)):
        with pytest.raises(ScanError):
            decode_grey(written(jpeg[:length]))


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path):
        with pytest.raises(ScanError, match="can't be read"):
            prepare_scan(path, 32)


# The steps


def equalised_by_numpy(image: np.ndarray) -> np.ndarray:
    """Histogram equalisation as a textbook has it: the cumulative share of darker pixels, the darkest level to 0."""
    counts = np.bincount(image.ravel(), minlength=256)
    cumulative = counts.cumsum()
    darkest = counts[image.min()]
    if darkest == image.size:
        return image
    return np.rint((cumulative - darkest) / (image.size - darkest) * 255).clip(0, 255).astype(np.uint8)[image]


def blurred_by_numpy(image: np.ndarray) -> np.ndarray:
    """A 5 x 5 Gaussian as the binomial weights 1 4 6 4 1, mirrored at the borders."""
    weights = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(image.astype(float), 2, mode="reflect")
    rows = sum(weight * padded[place : place + image.shape[0]] for place, weight in enumerate(weights))
    return sum(weight * rows[:, place : place + image.shape[1]] for place, weight in enumerate(weights))


def images_to_judge(grey: np.ndarray) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {
        "smooth": grey,
        "noise": generator.integers(0, 256, (33, 47), dtype=np.uint8),
        "dark": (grey // 16).astype(np.uint8),
        "two levels": np.where(grey > 100, 200, 90).astype(np.uint8),
        "flat": np.full((20, 30), 77, np.uint8),
    }


@pytest.mark.parametrize("name", ["smooth", "noise", "dark", "two levels", "flat"])
def test_equalising_and_blurring_equal_a_plain_implementation(name, grey, written):
    image = images_to_judge(grey)[name]
    steps = preparation_steps(written(encoded(Image.fromarray(image), "PNG")), 16)
    assert list(steps) == ["original", "equalised", "blurred", "resized"]
    assert np.array_equal(steps["original"], image)
    assert np.abs(steps["equalised"].astype(int) - equalised_by_numpy(image)).max() <= 1
    assert np.abs(steps["blurred"] - blurred_by_numpy(steps["equalised"])).max() <= 0.5


def test_resizing_averages_areas(grey, written):
    steps = preparation_steps(written(encoded(Image.fromarray(grey), "PNG")), 20)
    areas = steps["blurred"].reshape(20, 3, 20, 4).mean(axis=(1, 3))
    assert np.abs(steps["resized"] - areas).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("size", [1, 64, 299])
def test_every_scan_becomes_a_square_of_bytes(size, grey, written):
    for image in (grey, grey[:1, :1], grey[:1], grey[:, :2]):
        scan = prepare_scan(written(encoded(Image.fromarray(np.ascontiguousarray(image)), "PNG")), size)
        assert scan.shape == (size, size)
        assert scan.dtype == np.uint8


def test_real_scans_of_all_collections_are_prepared(real_scans):
    for folder, pattern in (("kermany", "*.jpeg"), ("covid", "*.png"), ("nih", "*.png")):
        for path in sorted((real_scans / folder).rglob(pattern))[::40]:
            scan = prepare_scan(path, 64)
            assert scan.shape == (64, 64)
            assert 100 < scan.mean() < 156, f"{path} is not equalised: mean {scan.mean():.0f}"
            with Image.open(path) as image:
                expected = np.array(image.convert("L")).astype(int)
            assert np.abs(decode_grey(path).astype(int) - expected).max() <= 1, path


# The dataset


@pytest.fixture(params=STUDY)
def dataset(request) -> str:
    return request.param


def test_arrays_records_and_statistics_agree(dataset, phantom_source, phantom_records, tmp_path):
    source, to = phantom_source(dataset), tmp_path / "prepared"
    summary = prepare_dataset(dataset, source, to, size=32)
    assert summary == json.loads((to / "statistics.json").read_text())
    records = pd.read_parquet(to / "records.parquet")
    arrays = {split: np.load(to / f"{split}.npy") for split in ("train", "val", "test")}
    assert sorted(records["scan"]) == sorted(phantom_records(dataset)["scan"])
    assert list(records["split"]) == [split for split in arrays for _ in range(len(arrays[split]))]
    assert summary["scans"] == {split: len(array) for split, array in arrays.items()}
    assert summary["mean"] == pytest.approx(arrays["train"].mean(dtype=float), abs=1e-9)
    assert summary["std"] == pytest.approx(arrays["train"].std(dtype=float), abs=1e-9)
    for split, array in arrays.items():
        assert array.dtype == np.uint8
        for image, path in zip(array, records.loc[records["split"] == split, "path"], strict=True):
            assert np.array_equal(image, prepare_scan(source / path, 32)), f"not in its row: {path}"


def test_the_bytes_do_not_depend_on_the_workers(phantom_source, tmp_path):
    source = phantom_source("pneumonia")
    for workers in (1, 4):
        prepare_dataset("pneumonia", source, tmp_path / str(workers), size=24, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "4")


def spoil(source, tmp_path, count: int):
    """A copy of a source whose first `count` scans are truncated."""
    copy = tmp_path / "spoiled"
    shutil.copytree(source, copy)
    scans = sorted(path for path in copy.rglob("*") if path.suffix in (".png", ".jpeg", ".jpg"))
    for path in scans[:count]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return copy, scans


def test_unreadable_scans_are_quarantined_and_the_others_prepared(phantom_source, tmp_path):
    source, scans = spoil(phantom_source("pneumonia"), tmp_path, 2)
    summary = prepare_dataset("pneumonia", source, tmp_path / "prepared", size=24)
    quarantine = pd.read_csv(tmp_path / "prepared" / "quarantine.csv")
    assert summary["quarantined"] == 2
    assert sum(summary["scans"].values()) == len(scans) - 2
    assert sorted(quarantine["scan"]) == sorted(path.name for path in scans[:2])
    assert quarantine["reason"].str.endswith("cut short").all()
    folders = {path.name: path.parent.name for path in scans[:2]}
    for row in quarantine.itertuples():
        assert (row.classes == "normal") == (folders[row.scan] == "NORMAL") and row.classes in DATASETS[
            "pneumonia"
        ].classes
    flow = pd.read_csv(tmp_path / "prepared" / "flow.csv")
    assert flow.loc[len(flow) - 2 :, ["step", "scans"]].to_numpy().tolist() == [
        ["quarantined", 2],
        ["prepared", len(scans) - 2],
    ]


def test_unknown_labels_and_other_files_are_in_the_flow_of_a_prepared_dataset_and_in_the_report(
    phantom_source, tmp_path
):
    source, to = tmp_path / "source", tmp_path / "prepared"
    shutil.copytree(phantom_source("xray8"), source)
    entries = source / "Data_Entry_2017.csv"
    entries.write_bytes(entries.read_bytes().replace(b",Mass,", b",Masse <b>,"))
    (source / "images" / "notes.txt").write_text("a note")
    prepare_dataset("xray8", source, to, size=16)
    flow = pd.read_csv(to / "flow.csv").set_index("step")
    steps = {step: scans for step, scans in dataset_facts(to, drawn=True)["flow"]}
    unknown = next(step for step in flow.index if "none of the collection's (Masse <b> " in step)
    assert flow.loc[unknown, "kind"] == "unknown" and steps[unknown] == flow.loc[unknown, "scans"] > 0
    assert flow.loc["left out: no image (text)", "scans"] == 1
    left_out = flow["scans"][flow.index.str.startswith("left out: ")].sum()
    assert flow.loc["found", "scans"] == left_out + flow.loc["kept", "scans"]


def test_a_class_of_two_patients_is_reported_and_stops_nothing(phantom_source, tmp_path, capsys):
    source, _ = spoil(phantom_source("pneumonia"), tmp_path, 0)
    viruses = sorted((path for path in source.rglob("*_virus_*")), key=lambda path: path.name.split("_")[0])
    patients = {path.name.split("_")[0] for path in viruses[:1] + viruses[-1:]}
    for path in viruses:
        if path.name.split("_")[0] not in patients:
            path.unlink()
    summary = prepare_dataset("pneumonia", source, tmp_path / "prepared", size=8)
    assert summary["missing"] == {"val": ["viral_pneumonia"]}
    assert "viral_pneumonia (2)" in capsys.readouterr().err


def test_too_few_patients_for_three_splits_are_an_error(phantom_source, tmp_path):
    source, scans = spoil(phantom_source("pneumonia"), tmp_path, 0)
    kept = [next(path for path in scans if word in path.name) for word in ("bacteria", "virus")]
    for path in set(scans) - set(kept):
        path.unlink()
    with pytest.raises(SourceError, match="at least three patients"):
        prepare_dataset("pneumonia", source, tmp_path / "prepared", size=8)


def test_nothing_quarantined_leaves_a_table_with_its_header(phantom_source, tmp_path):
    prepare_dataset("covid", phantom_source("covid"), tmp_path / "prepared", size=8)
    assert (tmp_path / "prepared" / "quarantine.csv").read_text() == "scan,reason,classes\n"


def test_a_source_without_a_readable_scan_is_an_error_and_leaves_nothing(phantom_source, tmp_path):
    source, _ = spoil(phantom_source("pneumonia"), tmp_path, 10_000)
    with pytest.raises(SourceError, match="cut short"):
        prepare_dataset("pneumonia", source, tmp_path / "prepared", size=24)
    assert [path.name for path in tmp_path.iterdir()] == ["spoiled"]


def test_a_failed_preparation_leaves_the_earlier_one_as_it_was(phantom_source, tmp_path, monkeypatch):
    to = tmp_path / "prepared"
    prepare_dataset("pneumonia", phantom_source("pneumonia"), to, size=24)
    before = contents(to)

    def fails(images):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "grey_statistics", fails)
        prepare_dataset("pneumonia", phantom_source("pneumonia"), to, size=16)
    assert contents(to) == before
    assert list(tmp_path.iterdir()) == [to]

    prepare_dataset("pneumonia", phantom_source("pneumonia"), to, size=16)
    assert np.load(to / "val.npy").shape[1:] == (16, 16)
    assert list(tmp_path.iterdir()) == [to]


def test_a_folder_that_holds_something_else_is_not_replaced(phantom_source, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        prepare_dataset("pneumonia", phantom_source("pneumonia"), tmp_path, size=16)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_disk_that_is_too_small_is_reported_beforehand(phantom_source, tmp_path):
    with pytest.raises(FolderError, match="GB"):
        prepare_dataset("pneumonia", phantom_source("pneumonia"), tmp_path / "prepared", size=1_000_000)


def test_the_official_split_tests_on_the_published_list_and_says_where_there_is_none(phantom_source, tmp_path):
    source = phantom_source("xray8")
    summary = prepare_dataset("xray8", source, tmp_path / "xray8", size=32, split="official")
    records = pd.read_parquet(tmp_path / "xray8" / "records.parquet")
    listed = set((source / "test_list.txt").read_text().split())
    assert summary["split"] == "official"
    assert (records["scan"].isin(listed) == (records["split"] == "test")).all()
    bare = tmp_path / "bare"
    shutil.copytree(source, bare, ignore=shutil.ignore_patterns("test_list.txt"))
    with pytest.raises(SourceError, match=r"needs test_list\.txt beside Data_Entry_2017\.csv"):
        prepare_dataset("xray8", bare, tmp_path / "none", size=32, split="official")
    assert (
        prepare_dataset("covid", phantom_source("covid"), tmp_path / "covid", size=32, split="official")["split"]
        == "patients"
    )


# Labels that a collection does not know


def test_labels_are_kept_as_published_and_decided_when_the_folder_is_opened(phantom_source, tmp_path, monkeypatch):
    xray8 = DATASETS["xray8"]

    def read(*arguments, **options):
        records = xray8.read(*arguments, **options)
        mass = records["mass"].astype(float)
        mass[records.index % 5 == 1] = -1.0
        nodule = records["nodule"].where(records.index % 4 != 0)
        kept = records.assign(mass=mass, nodule=nodule, study=records["patient"], scanner="A")
        kept.attrs |= records.attrs
        return kept

    monkeypatch.setitem(DATASETS, "xray8", replace(xray8, read=read))
    source, folder = phantom_source("xray8"), tmp_path / "prepared"
    made_of = read_records("xray8", source)
    summary = prepare_dataset("xray8", source, folder, size=32)
    expected = {
        "uncertain": {"mass": int((made_of["mass"] == -1).sum())},
        "blank": {"nodule": int(made_of["nodule"].isna().sum())},
    }
    assert summary["unknown"] == expected == dataset_facts(folder, drawn=True)["unknown"]
    prepared = load_prepared(folder, uncertain="ones", blank="ignore")
    given = prepared.records.set_index("scan").loc[made_of["scan"], list(xray8.classes)].reset_index(drop=True)
    pd.testing.assert_frame_equal(given, made_of[list(xray8.classes)], check_dtype=False)
    assert {"study", "scanner"} <= set(prepared.records)
    train, labels = prepared.split("train"), prepared.labels("train")
    mass, nodule = (labels[:, xray8.classes.index(name)] for name in ("mass", "nodule"))
    np.testing.assert_array_equal(mass, train["mass"].abs())
    np.testing.assert_array_equal(nodule, train["nodule"])
    assert np.isnan(nodule).any() and not np.isnan(np.delete(labels, xray8.classes.index("nodule"), axis=1)).any()


@pytest.mark.parametrize("dataset", STUDY)
def test_a_dataset_without_unknown_labels_is_prepared_as_before(dataset, phantom_source, tmp_path):
    summary = prepare_dataset(dataset, phantom_source(dataset), tmp_path / "prepared", size=32)
    prepared = load_prepared(tmp_path / "prepared", uncertain="ones", blank="ignore")
    assert summary["unknown"] == {}
    assert (prepared.records[list(prepared.classes)].dtypes == "int64").all()
    labels = np.concatenate([prepared.labels(split) for split in ("train", "val", "test")])
    np.testing.assert_array_equal(labels, prepared.records[list(prepared.classes)])

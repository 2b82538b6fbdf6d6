"""A decoder that dies takes one file with it: the others are prepared as ever, and nothing waits for it."""

import os
import signal
import time

import numpy as np
import pandas as pd
import pytest
from layouts import write_covid

from lungkeras.datasets.scans import workers as decoder
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.prediction import predict
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.preparation.reading import fill
from lungkeras.preparation.scan import prepare_scan
from lungkeras.system.errors import RunError, ScanError

IN_A_SECOND = "from lungkeras.datasets.scans import workers\nworkers.MOST_SECONDS = 1\n"
# A decoder that does what its file says.
HOSTILE = """
import os, signal, sys, time
from lungkeras.datasets.scans import workers as decoder
from lungkeras.datasets.scans.decoding import decode_grey
from lungkeras.datasets.scans.workers import serve

def decode(path):
    order = path.read_bytes() if path.exists() else b""
    if order == b"abort":
        os.abort()
    if order == b"segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if order == b"killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == b"exit":
        os._exit(7)
    if order == b"raise":
        sys.stderr.close()
        raise RuntimeError
    if order == b"no memory":
        decoder._has_room = lambda: False
        raise MemoryError
    if order == b"memory":
        bytearray(1200 * 2**20)
    if order == b"slow":
        while True:
            pass
    if order == b"asleep":
        time.sleep(600)
    if (once := path.with_suffix(".once")).exists():
        once.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    if order == b"print":
        os.write(1, b"a library that prints")
    return decode_grey(path)

serve(decode)
"""
ENDS = {"abort": "SIGABRT", "segfault": "SIGSEGV", "killed": "SIGKILL", "exit": "status 7", "raise": "status 1"}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Eleven scans, five of which kill their decoder."""
    monkeypatch.setattr(decoder, "SERVE", HOSTILE)
    source = write_covid(tmp_path / "source", normals=8)
    normals = source / "COVID-19_Radiography_Dataset" / "Normal" / "images"
    for number, order in enumerate(ENDS, start=1):
        (normals / f"Normal-{number}.png").write_text(order)
    return source


@pytest.mark.parametrize("workers", [1, 4])
def test_a_file_that_kills_its_decoder_is_one_file_lost(workers, source, injected):
    paths = sorted(source.rglob("images/*.png"))
    images = np.zeros((len(paths), 8, 8), np.uint8)
    started = time.monotonic()
    reasons = fill(images, paths, workers)
    assert time.monotonic() - started < 60
    for path, image, reason in zip(paths, images, reasons, strict=True):
        order = path.read_bytes()[:10].decode(errors="replace")
        assert reason == (f"the decoder died ({ENDS[order]})" if order in ENDS else None)
        assert np.array_equal(image, np.zeros((8, 8)) if reason else prepare_scan(path, 8))
    injected("files that kill their decoder", len(ENDS))


def test_a_preparation_continues_with_the_others(source, tmp_path):
    summary = prepare_dataset("covid", source, tmp_path / "prepared", size=8, workers=2)
    quarantine = pd.read_csv(tmp_path / "prepared" / "quarantine.csv")
    assert summary["quarantined"] == len(quarantine) > 0
    assert quarantine["reason"].str.fullmatch(r"the decoder died \((SIG\w+|status \d)\)").all()


def test_predict_lists_the_file_and_answers_for_the_rest(source):
    def model(images):
        return np.zeros((len(images), 2), np.float32)

    predictor = predict.Predictor("two", model, ("sick", "well"), "multiclass", 8, exported=True)
    paths = sorted(source.rglob("Normal/images/*.png"))
    answers, failed = predict.predict_images(predictor, paths, workers=2)
    assert len(answers) == 3
    assert failed["reason"].tolist() == [f"the decoder died ({ends})" for ends in ENDS.values()]


def test_a_decoder_answers_as_the_function_does_whatever_a_library_prints(source, tmp_path):
    good, absent = next(source.rglob("COVID-1.png")), tmp_path / "absent\udcff\n.png"
    prints = tmp_path / "print"
    prints.write_text("print")
    one = decoder.Decoder()
    try:
        for path in (good, good.parent / "COVID-2.png"):
            assert np.array_equal(one.decode(path), decode_grey(path))
        for path in (absent, prints):
            with pytest.raises(ScanError) as expected:
                decode_grey(path)
            with pytest.raises(ScanError) as caught:
                one.decode(path)
            assert str(caught.value) == str(expected.value)
        assert one.process.poll() is None
    finally:
        one.close()


def test_no_scan_is_lost_to_a_kill_from_outside_or_to_lack_of_memory(source):
    good = next(source.rglob("COVID-1.png"))
    good.with_suffix(".once").touch()
    images = np.zeros((1, 8, 8), np.uint8)
    assert fill(images, [good]) == [None]
    assert np.array_equal(images[0], prepare_scan(good, 8))
    assert not good.with_suffix(".once").exists()
    good.write_text("no memory")
    with pytest.raises(MemoryError):
        fill(images, [good])


def test_a_decoder_that_can_not_start_is_not_blamed_on_the_scans(source, monkeypatch):
    monkeypatch.setattr(decoder, "SERVE", "raise SystemExit(3)")
    with pytest.raises(RunError, match=r"No process to decode scans could be started \(status 3\)"):
        fill(np.zeros((1, 8, 8), np.uint8), [next(source.rglob("*.png"))])


@pytest.mark.parametrize(
    "order, reason",
    [
        ("memory", "needed more than 900 MB of memory"),
        ("slow", "took longer than 1 s"),
        ("asleep", "took longer than 2 s"),
    ],
)
def test_a_file_that_takes_too_much_is_one_file_lost(order, reason, source, monkeypatch):
    monkeypatch.setattr(
        decoder,
        "SERVE",
        "from lungkeras.datasets.scans import workers as decoder; decoder.MOST_SECONDS = 1\n" + HOSTILE,
    )
    monkeypatch.setattr(decoder, "MOST_SECONDS", 1)
    monkeypatch.setattr(decoder, "MOST_SECONDS_WAITED", 2 if order == "asleep" else 60)
    good, bad = (next(source.rglob(f"COVID-{number}.png")) for number in (1, 2))
    bad.write_text(order)
    one = decoder.Decoder()
    try:
        first = one.decode(good)
        process = one.process
        with pytest.raises(ScanError, match=reason):
            one.decode(bad)
        assert process.returncode is not None and one.process is None
        assert np.array_equal(one.decode(good), first)
    finally:
        one.close()


def test_an_unused_decoder_ends(source, monkeypatch):
    """As where the process that asked was killed: what is at work ends by its own clock."""
    monkeypatch.setattr(
        decoder,
        "SERVE",
        "from lungkeras.datasets.scans import workers as decoder; decoder.MOST_SECONDS = 1\n" + HOSTILE,
    )
    bad = next(source.rglob("COVID-1.png"))
    bad.write_text("slow")
    one = decoder.Decoder()
    one._start()
    name = os.fsencode(bad)
    one.process.stdin.write(decoder.LENGTH.pack(len(name)) + name)
    assert one.process.wait(timeout=30) == -signal.SIGXCPU
    one.close()

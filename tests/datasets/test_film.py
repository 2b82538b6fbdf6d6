"""The drawn film: lesions stay where their boxes say, and nothing else gives them away."""

import cv2
import numpy as np
import pytest

from lungkeras.datasets.phantoms.anatomy import Lungs, draw_patient
from lungkeras.datasets.phantoms.film import draw_film
from lungkeras.datasets.phantoms.lesions import CENTIMETRE, DRAWN, draw_lesions


def film(findings, seed, shape=(256, 256)):
    """The same patient, place, exposure and noise for the same seed, whatever the findings."""
    return draw_film(draw_patient(np.random.default_rng(seed)), findings, np.random.default_rng((seed, 1)), shape)


@pytest.mark.parametrize("finding", DRAWN)
def test_what_a_finding_changes_lies_in_its_boxes(finding):
    for seed in range(6):
        with_finding, boxes = film((finding,), seed)
        without, none = film(("normal",), seed)
        change = np.abs(with_finding.astype(float) - without)
        boxed = np.zeros(change.shape, bool)
        for box in boxes:
            boxed[box.top : box.top + box.height, box.left : box.left + box.width] = True
        assert none == []
        assert change[boxed].mean() > 2, f"seed {seed}: hardly to be seen"
        assert change[boxed].sum() > 0.85 * change.sum(), f"seed {seed}: changes the film elsewhere"


@pytest.mark.parametrize("finding", ["mass", "nodule"])
def test_a_box_is_tight_around_a_round_lesion(finding):
    for seed in range(12):
        drawn, boxes = film((finding,), seed)
        if len(boxes) > 1:
            continue  # a neighbour may reach into the box
        box, change = boxes[0], np.abs(drawn.astype(float) - film((), seed)[0])
        inside = change[box.top : box.top + box.height, box.left : box.left + box.width]
        edge = max(inside[[0, -1]].max(), inside[:, [0, -1]].max())
        assert edge < 0.75 * inside.max(), f"seed {seed}: cut off"
        assert 0.5 < box.width / box.height < 2


def test_a_nodule_is_less_than_3_cm_wide_and_a_mass_more():
    def widths(finding):
        for seed in range(20):
            lungs = Lungs(draw_patient(np.random.default_rng(seed)), breath=0.0)
            for lesion in draw_lesions(finding, lungs, np.random.default_rng(seed), side=-1):
                yield (
                    cv2.boundingRect((lesion.opacity > 0.5 * lesion.opacity.max()).astype(np.uint8))[2]
                    / 100
                    / CENTIMETRE
                )

    assert max(widths("nodule")) < 3.1 < min(widths("mass"))


def test_viral_pneumonia_covid_edema_and_fibrosis_take_both_lungs_the_others_one():
    for finding in DRAWN:
        for side in (-1, 1):
            lungs = Lungs(draw_patient(np.random.default_rng(0)), breath=0.0)
            lesions = draw_lesions(finding, lungs, np.random.default_rng(2), side)
            extent = np.maximum.reduce([lesion.extent for lesion in lesions])
            taken = {lung: float((extent * lungs.masks[lung]).sum()) for lung in (-1, 1)}
            if finding in ("viral_pneumonia", "covid", "edema", "fibrosis"):
                assert min(taken.values()) > 0.1 * max(taken.values()), finding
            else:
                assert taken[-side] < 0.02 * taken[side], finding


def test_a_film_reads_as_a_chest():
    """Lungs darker than the middle, the abdomen and the ribs' sides; air beside the body black."""
    for seed in range(10):
        image = cv2.GaussianBlur(film((), seed)[0], (0, 0), 6).astype(float)
        spine, abdomen = image[60:180, 118:138].mean(), image[240:250, 60:196].mean()
        lungs = min(image[100:150, 55:85].mean(), image[100:150, 175:205].mean())
        assert lungs < 0.85 * min(spine, abdomen), seed


def test_scans_of_one_patient_share_the_body_but_not_the_film():
    chest = draw_patient(np.random.default_rng(0))
    first, second = (draw_film(chest, (), np.random.default_rng(scan))[0].astype(float) for scan in (1, 2))
    assert np.abs(first - second).mean() > 3


def test_films_have_the_asked_shape_and_use_the_range_of_grey():
    for shape in ((192, 272), (256, 192)):
        image, _ = film(("effusion", "mass"), 3, shape)
        assert image.shape == shape and image.dtype == np.uint8
        assert image.max() > 180 and image.min() < 60


def test_no_film_depends_on_those_drawn_before():
    before = film(("covid",), 1)[0]
    for finding in DRAWN:
        film((finding,), 2)
    assert (film(("covid",), 1)[0] == before).all()

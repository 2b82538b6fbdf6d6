"""Who holds whose scans, and which classes mean the same."""

from graphlib import TopologicalSorter

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path

from lungkeras.datasets import findings, kinship
from lungkeras.datasets.findings import shared_classes
from lungkeras.datasets.kinship import KINSHIP, OTHERS, kin, why_kin
from lungkeras.datasets.registry import DATASETS


def test_every_collection_of_the_table_has_a_title_and_evidence_and_no_collection_holds_itself():
    for row in KINSHIP:
        assert {row.child, row.parent} <= {*DATASETS, *OTHERS} and row.evidence in kinship.EVIDENCE
        if row.wholly and row.child in DATASETS:
            assert set(row.wholly) <= set(DATASETS[row.child].classes)
    parents = {row.child: [again.parent for again in KINSHIP if again.child == row.child] for row in KINSHIP}
    assert [*TopologicalSorter(parents).static_order()]  # which a circle would refuse


def test_kin_are_those_that_hold_scans_of_one_collection():
    """Against paths in a graph of the same rows."""
    names = sorted({name for row in KINSHIP for name in (row.child, row.parent)})
    holds = np.zeros((len(names), len(names)))
    for row in KINSHIP:
        holds[names.index(row.child), names.index(row.parent)] = 1
    steps = shortest_path(holds)
    for one in names:
        for other in names:
            through = (steps[names.index(one)] + steps[names.index(other)]).min()
            assert len(kin(one, other)) == (through if np.isfinite(through) and one != other else 0)
    assert not kin("vindr", "xray8") and not kin("unheard of", "xray8")


def test_a_child_a_parent_and_a_sibling_are_kin_with_the_reason():
    assert why_kin("rsna", "xray8") == why_kin("xray8", "rsna") != ""
    assert "holds 26,684 scans of 11,439 patients of NIH ChestX-ray8 (seen in its files)" in why_kin("xray8", "rsna")
    sibling = why_kin("siim", "rsna")
    assert sibling.count("NIH ChestX-ray8") == 2 and "(as published)" in sibling
    assert len(kin("medmnist", "rsna")) == 2 and len(kin("covid", "xray8")) == 2
    assert why_kin("chexpert", "mimic") == why_kin("covid", "covid") == ""


@pytest.mark.parametrize(
    ("one", "classes", "other", "others", "strict", "loose"),
    [
        ("xray8", ("effusion", "no_finding"), "mimic", ("no_finding", "pleural_effusion"),
         {"effusion": "pleural_effusion", "no_finding": "no_finding"}, {}),
        ("xray8", ("mass", "nodule"), "chexpert", ("lung_lesion", "lung_opacity"), {}, {"mass": "lung_lesion"}),
        ("xray8", ("mass", "nodule"), "padchest", ("nodule", "pulmonary_mass"),
         {"mass": "pulmonary_mass", "nodule": "nodule"}, {}),
        ("xray8", ("consolidation", "no_finding"), "rsna", ("normal", "lung_opacity"), {"no_finding": "normal"},
         {"consolidation": "lung_opacity"}),
        ("vindr", ("Pleural thickening", "Nodule/Mass"), "medmnist", ("pleural_thickening", "mass"),
         {"Pleural thickening": "pleural_thickening"}, {"Nodule/Mass": "mass"}),
        # The choice against other diseases is not the absence of findings.
        ("covid", ("covid", "normal"), "padchest", ("normal", "pneumonia"), {}, {}),
        ("covid", ("covid", "viral_pneumonia", "normal"), "pneumonia", ("normal", "viral_pneumonia"),
         {"viral_pneumonia": "viral_pneumonia", "normal": "normal"}, {}),
        ("my_own", ("pleural_effusion", "stripes"), "xray8", ("effusion", "stripes"),
         {"pleural_effusion": "effusion", "stripes": "stripes"}, {}),
    ],
)  # fmt: skip
def test_classes_are_shared_by_what_they_mean(one, classes, other, others, strict, loose):
    assert shared_classes(one, classes, other, others) == strict
    found = shared_classes(one, classes, other, others, loose=True)
    assert found == strict | loose and list(found) == [name for name in classes if name in found]
    back = shared_classes(other, others, one, classes)
    assert back == {theirs: own for own, theirs in strict.items()}


def test_a_label_of_a_collection_has_one_meaning():
    for name in findings.LISTED:
        for labels in findings.SAME.values():
            if name in labels:
                assert len(findings._meaning(name, labels[name])) == 1


@pytest.mark.parametrize("name", [name for name, dataset in DATASETS.items() if dataset.names])
def test_names_tell_the_patients_of_the_published_layout(name):
    """Of the scans that a drawing plans, those of one patient have one name for them, and no other has."""
    planned = DATASETS[name].phantom.plan(60, np.random.default_rng(0), {1: 0.5, 3: 0.5})
    pairs = {(scan.patient, DATASETS[name].names.of(scan.path)) for scan in planned}
    assert len(pairs) == len({patient for patient, _ in pairs}) == len({named for _, named in pairs}) > 5
    assert None not in {named for _, named in pairs} and DATASETS[name].names.of("holiday.png") is None

"""70:15:15 by patient: the promises of split_records, on every dataset and on records made to be awkward."""

import time

import numpy as np
import pandas as pd
import pytest
from layouts import STUDY
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from lungkeras.datasets.registry import class_columns, read_records
from lungkeras.preparation.duplicates import copies_of, join_patients
from lungkeras.splits import SHARES, official_split, split_records
from lungkeras.system.errors import SourceError

REAL_FOLDERS = {"covid": "covid", "pneumonia": "kermany", "xray8": "nih"}
SEEDS = range(5)


def make_records(*, patients: int, probabilities: dict[str, float], multilabel: bool, seed: int = 0) -> pd.DataFrame:
    """Patients of one to twelve scans; scans of one patient tend to show the same."""
    rng = np.random.default_rng(seed)
    scans = rng.geometric(0.4, size=patients).clip(max=12)
    patient = np.repeat(np.arange(patients), scans)
    classes = list(probabilities)
    if multilabel:
        labels = (rng.random((patients, len(classes))) < list(probabilities.values()))[patient].astype(int)
        labels[:, 0] |= labels.sum(axis=1) == 0
    else:
        labels = np.eye(len(classes), dtype=int)[
            rng.choice(len(classes), size=patients, p=list(probabilities.values()))
        ]
        labels = labels[patient]
    records = pd.DataFrame(labels, columns=classes)
    records.insert(0, "scan", [f"{number}.png" for number in range(len(records))])
    records.insert(1, "patient", [f"patient {number}" for number in patient])
    records.attrs["classes"] = classes
    return records.sample(frac=1, random_state=seed)


@pytest.fixture(
    params=[
        dict(patients=400, probabilities={"a": 0.5, "b": 0.4, "c": 0.1}, multilabel=False),
        dict(patients=400, probabilities={"a": 0.5, "b": 0.2, "c": 0.05, "d": 0.03}, multilabel=True),
        dict(patients=60, probabilities={"a": 0.4, "b": 0.4, "c": 0.2}, multilabel=False),
    ],
    ids=["multiclass", "multilabel", "few"],
)
def records(request):
    return make_records(**request.param)


def assert_keeps_promises(records: pd.DataFrame, split: pd.DataFrame) -> None:
    splits = split.groupby("patient")["split"].nunique()
    assert (splits == 1).all(), f"in two splits: {list(splits.index[splits > 1])}"
    pd.testing.assert_frame_equal(split.drop(columns="split"), records)
    scans = split.groupby("split")[class_columns(records)].sum()
    assert set(scans.index) == set(SHARES)
    assert (scans > 0).all(axis=None), scans


def worst_gap(labels: pd.DataFrame, split: pd.Series) -> float:
    """How far a class is from its due share of a split, at most, in parts of the class."""
    shares = labels.groupby(split).sum() / labels.sum()
    return float(shares.sub(pd.Series(SHARES), axis=0).abs().max(axis=None))


def test_no_patient_is_in_two_splits_and_every_class_in_each(records):
    for seed in SEEDS:
        assert_keeps_promises(records, split_records(records, seed=seed))


def test_shares_are_kept_within_two_points_or_two_scans(records):
    for seed in SEEDS:
        split = split_records(records, seed=seed)["split"]
        scans = records[class_columns(records)].assign(scans=1).groupby(split).sum()
        due = pd.DataFrame(np.outer(list(SHARES.values()), scans.sum()), list(SHARES), scans.columns)
        assert ((scans - due).abs() <= np.maximum(2, 0.02 * scans.sum())).all(axis=None), scans - due


def test_stratifies_better_than_a_random_split_by_patient(records):
    labels = records[class_columns(records)]
    for seed in SEEDS:
        ours = split_records(records, seed=seed)["split"]
        random = pd.Series("train", index=records.index)
        _, rest = next(GroupShuffleSplit(1, test_size=0.3, random_state=seed).split(records, groups=records["patient"]))
        rest = records.iloc[rest]
        val, test = next(GroupShuffleSplit(1, test_size=0.5, random_state=seed).split(rest, groups=rest["patient"]))
        random[rest.index[val]], random[rest.index[test]] = "val", "test"
        assert worst_gap(labels, ours) < worst_gap(labels, random)


def test_stratifies_as_well_as_scikit_learn_where_that_can():
    """Twenty folds make 70:15:15 as well; it knows one label per scan only."""
    records = make_records(patients=150, probabilities={"a": 0.5, "b": 0.4, "c": 0.1}, multilabel=False)
    labels = records[class_columns(records)]
    for seed in SEEDS[:2]:
        folds = StratifiedGroupKFold(20, shuffle=True, random_state=seed)
        theirs = pd.Series("train", index=records.index)
        for number, (_, fold) in enumerate(folds.split(records, labels.idxmax(axis=1), records["patient"])):
            theirs.iloc[fold] = "val" if number < 3 else "test" if number < 6 else "train"
        ours = split_records(records, seed=seed)["split"]
        assert worst_gap(labels, ours) <= worst_gap(labels, theirs)


def test_the_seed_alone_decides(records):
    first, again, other = (split_records(records, seed=seed)["split"] for seed in (0, 0, 1))
    assert first.equals(again)
    assert not first.equals(other)


def test_the_order_of_rows_decides_nothing(records):
    turned = split_records(records.iloc[::-1], seed=2)["split"]
    assert turned.sort_index().equals(split_records(records, seed=2)["split"].sort_index())


def test_three_patients_of_a_class_are_one_in_each_split():
    records = make_records(patients=50, probabilities={"a": 1.0, "b": 0.0}, multilabel=False).sort_index()
    rare = records["patient"].isin(["patient 3", "patient 20", "patient 41"])
    records["b"] = rare.astype(int)
    for seed in SEEDS:
        split = split_records(records, seed=seed)
        assert set(split.loc[rare, "split"]) == set(SHARES)


@pytest.mark.parametrize("patients", [0, 1, 2])
def test_too_few_patients_of_a_class_is_one_sentence(patients):
    records = make_records(patients=50, probabilities={"a": 1.0, "b": 0.0}, multilabel=False)
    records["b"] = records["patient"].isin([f"patient {number}" for number in range(patients)]).astype(int)
    with pytest.raises(SourceError, match=rf"b \({patients}\)"):
        split_records(records)
    assert split_records(records, every_class=False)["split"].nunique() == 3


def test_two_patients_of_a_class_are_in_train_and_test_on_request():
    records = make_records(patients=50, probabilities={"a": 1.0, "b": 0.0}, multilabel=False)
    records["b"] = records["patient"].isin(["patient 5", "patient 9"]).astype(int)
    split = split_records(records, every_class=False)
    assert set(split.loc[records["b"] == 1, "split"]) == {"train", "test"}


def test_one_patient_with_all_scans_of_two_classes_is_an_error():
    records = make_records(patients=50, probabilities={"a": 1.0, "b": 0.0}, multilabel=False)
    records["patient"] = "patient 0"
    with pytest.raises(SourceError, match=r"a \(1\), b \(0\)"):
        split_records(records)


def test_records_without_class_columns_are_refused():
    with pytest.raises(SourceError, match="0-or-1 column a class"):
        split_records(pd.DataFrame({"scan": ["a.png"], "patient": ["a"], "age": [1]}))


@pytest.mark.parametrize("dataset", STUDY)
def test_drawn_sources_are_split(dataset, phantom_records):
    records = phantom_records(dataset)
    for seed in SEEDS:
        assert_keeps_promises(records, split_records(records, seed=seed))


@pytest.mark.parametrize("dataset", ["covid", "pneumonia"])
def test_real_scans_are_split(dataset, real_scans):
    records = read_records(dataset, real_scans / REAL_FOLDERS[dataset])
    for seed in SEEDS:
        split = split_records(records, seed=seed)
        assert_keeps_promises(records, split)
        scans = split.groupby("split")[class_columns(records)].sum()
        due = pd.DataFrame(np.outer(list(SHARES.values()), scans.sum()), list(SHARES), scans.columns)
        assert (scans - due).abs().max(axis=None) <= 2, scans


def test_the_few_real_nih_scans_are_split_as_far_as_they_go(real_scans):
    records = read_records("xray8", real_scans / "nih")
    split = split_records(records, every_class=False)
    scans = split.groupby("split")[class_columns(records)].sum()
    assert (scans.loc[["train", "test"]] > 0).all(axis=None)


def test_the_full_nih_selection_is_split_within_two_points_in_seconds(real_scans):
    records = read_records("xray8", real_scans / "nih", require_files=False)
    started = time.process_time()
    split = split_records(records)
    assert time.process_time() - started < 10
    assert_keeps_promises(records, split)
    assert worst_gap(records[class_columns(records)].assign(scans=1), split["split"]) < 0.02


def test_an_official_test_list_is_the_test_split_and_the_rest_is_split_by_patient(records):
    listed = records[records["patient"].str.removeprefix("patient ").astype(int) % 5 == 0]["scan"]
    split = official_split(records, [*listed, "elsewhere.png"])
    sides = split.groupby("patient")["split"].nunique()
    assert set(sides) == {1}
    pd.testing.assert_frame_equal(split.drop(columns="split"), records)
    assert set(split.loc[split["split"] == "test", "scan"]) == set(listed)
    shares = split.loc[split["split"] != "test", "split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(70 / 85, abs=0.05)


def test_a_list_that_separates_a_patient_or_names_no_scan_is_refused(records):
    patient = records["patient"].value_counts().index[0]
    with pytest.raises(SourceError, match=rf"found 1 on both, such as {patient}:"):
        official_split(records, records.loc[records["patient"] == patient, "scan"].iloc[:1])
    with pytest.raises(SourceError, match=f"found 0 of {len(records)}"):
        official_split(records, ["elsewhere.png"])


def test_an_official_split_keeps_groups_and_finds_copies_of_copies_of_test_scans(records):
    patients = sorted(records["patient"].unique())
    listed = set(records.loc[records["patient"].isin(patients[:8]), "scan"])
    rest = records.loc[~records["scan"].isin(listed)].groupby("patient")["scan"].first()
    inside, one, two, three, four = sorted(listed)[0], *rest.iloc[:4]
    pairs = pd.DataFrame({"scan": [inside, one, three], "other": [one, two, four]})
    assert copies_of(listed, pairs) == {one, two}
    kept = records[~records["scan"].isin({one, two})]
    joined = join_patients(kept, pairs[pairs["scan"] == three])
    for seed in range(5):
        split = official_split(kept.assign(group=joined), listed, seed=seed).set_index("scan")["split"]
        assert split[three] == split[four] != "test"
        assert set(split[split == "test"].index) == listed

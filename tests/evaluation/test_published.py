import numpy as np
import pytest
from layouts import STUDY

from lungkeras.datasets.registry import DATASETS
from lungkeras.evaluation.paper.published import (
    published,
    published_best,
    published_complexity,
    published_counts,
    published_f1,
    published_run,
    published_scans,
)


def test_the_twelve_published_runs_are_three_datasets_of_four_models():
    assert len(published()["runs"]) == 12
    assert published_f1("covid", "efficientnet_b1", "random") == 0.979
    assert published_run("xray8", "resnet34", "random") == {
        "macro_f1": 0.411,
        "seconds_per_epoch": 11502,
        "best_epoch": 19,
    }


def test_transferred_features_stand_beside_the_imagenet_run():
    assert published_f1("pneumonia", "efficientnet_b1", "transfer") == 0.782


@pytest.mark.parametrize(
    "key", [("pneumonia", "resnet34", "imagenet"), ("mine", "resnet34", "random"), ("covid", "vgg", "random")]
)
def test_a_run_that_the_paper_lacks_is_not_a_number(key):
    assert np.isnan(published_f1(*key))


@pytest.mark.parametrize("dataset", STUDY)
def test_published_counts_name_the_classes_of_the_dataset(dataset):
    assert set(published_counts(dataset)) == set(DATASETS[dataset].classes)


@pytest.mark.parametrize("dataset", STUDY)
def test_image_sizes_and_tasks_are_those_of_the_datasets(dataset):
    facts = published()["datasets"][dataset]
    assert (facts["image_size"], facts["task"]) == (DATASETS[dataset].image_size, DATASETS[dataset].task)


def test_derived_xray8_classes_are_the_printed_sizes_once_rounded():
    printed = published()["datasets"]["xray8"]["class_sizes"]
    derived = sorted(published_counts("xray8").values(), reverse=True)
    assert sorted(printed, reverse=True) == pytest.approx(derived, rel=0.02)
    assert published_scans("xray8") == 29067


def test_best_published_runs():
    assert published_best("pneumonia") == ("pneumonia-mobilenet_v3_large-random", 0.804)
    assert published_best("mine")[0] == ""


def test_complexity_knows_the_three_backbones_alone():
    assert published_complexity("resnet34")["parameters_millions"] == 21.8
    assert np.isnan(published_complexity("vgg")["layers"])

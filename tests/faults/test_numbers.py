"""Numbers under stress: a score is a number or called undefined, a diverged run says so, and the study continues."""

import json
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import synthetic
import yaml
from prepared_data import CLASSES, write_prepared
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from small_study import report as small_report
from small_study import small_study
from small_training import params_of, small_model

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.evaluation import baselines, calibration, comparison, decision_thresholds, failures, run_tables
from lungkeras.evaluation.paper import claims, tables
from lungkeras.evaluation.run_evidence import RunEvidence
from lungkeras.explanation import gallery, measures
from lungkeras.explanation.embedding import features
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.report import page as report
from lungkeras.report import tables as report_tables
from lungkeras.report.figures import files, paper
from lungkeras.report.figures.files import description
from lungkeras.report.figures.reliability import reliability_diagrams
from lungkeras.scores import metrics, temperature
from lungkeras.scores.divergence import best_epoch, diverged_at
from lungkeras.study import runs
from lungkeras.study.runs import ablation_runs, main_runs
from lungkeras.system.files import write_csv, write_json
from lungkeras.training import one_run, progress

NAN = float("nan")
CHANCE = np.log(3)
BROKEN = {"covid-resnet34-random", "xray8-resnet34-random"}
REPEATS = {"": "mobilenet_v3_large", "-seed1": "resnet34"}


def history(losses, val_losses) -> pd.DataFrame:
    epochs = range(1, len(losses) + 1)
    return pd.DataFrame({"epoch": epochs, "loss": losses, "val_loss": val_losses})


@pytest.mark.parametrize(
    ("losses", "val_losses", "epoch", "best"),
    [
        ([1.0, 0.9, 0.8], [1.1, 1.0, 1.2], None, 2),
        ([1.0, 0.9, 0.8], [1.1, 1e9, 1.0], None, 3),
        ([1.0, 0.9, NAN], [1.1, 1.0, NAN], 3, 2),
        ([1.0, 1e6, 1e7], [1.1, 1e6, 1e7], 2, 1),
        ([1e6, 1e6, 0.9], [1e6, 1e6, 1.1], None, 3),
        ([NAN], [NAN], 1, None),
        ([1e6, 1e5, 1.0], [1e6, 1e5, 1e4], 1, 3),
        ([1.0, np.inf], [np.inf, np.inf], 1, None),
    ],
)
def test_a_training_diverged_if_it_never_recovered(losses, val_losses, epoch, best):
    assert diverged_at(history(losses, val_losses), CHANCE) == epoch
    assert best_epoch(history(losses, val_losses)) == best


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")


@pytest.mark.parametrize("rate", [pytest.param(1e6, marks=pytest.mark.faults), 1e38])
def test_a_diverging_run_ends_with_a_model_of_numbers_and_says_so(prepared, tmp_path, rate, injected):
    params = params_of(prepared, tmp_path, epochs=3, learning_rate=rate, final_learning_rate=rate)
    folder = one_run.train(params, small_model())
    run = runs.read_run(folder)
    assert run.diverged == 1
    assert np.isfinite(run.predictions.filter(like="probability")).all(axis=None)
    kept = keras.models.load_model(folder / "best.keras")
    assert all(np.isfinite(weight).all() for weight in kept.get_weights())
    assert json.loads((folder / "metrics.json").read_text())["test"]["macro_f1"] is not None
    if rate == 1e38:  # no epoch gave numbers: training ended at once, and the untrained model stands
        assert len(run.history) == 1 and np.isnan(run.best_epoch)
        for kept_weight, untrained in zip(kept.get_weights(), small_model().get_weights(), strict=True):
            np.testing.assert_array_equal(kept_weight, untrained)
    injected("diverging runs", 1)


def test_a_loss_that_becomes_nan_leaves_the_best_model_before_it(prepared, tmp_path, monkeypatch, injected):
    seed = progress.seed_random_layers

    def poison(model, number, epoch):
        seed(model, number, epoch)
        if epoch == 2:
            first = next(variable for variable in model.trainable_variables if "kernel" in variable.path)
            first.assign(np.full(first.shape, np.nan))

    monkeypatch.setattr(progress, "seed_random_layers", poison)
    # One rate in all epochs, whatever their number.
    monkeypatch.setattr(one_run.keras.optimizers.schedules, "CosineDecay", lambda rate, *_, **__: rate)
    expected = one_run.train(params_of(prepared, tmp_path / "short", epochs=2), small_model())
    folder = one_run.train(params_of(prepared, tmp_path / "long", epochs=6), small_model())
    run = runs.read_run(folder)
    assert run.history["epoch"].tolist() == [1, 2, 3] and np.isnan(run.history["val_loss"].iloc[-1])
    assert run.diverged == 3 and run.best_epoch in (1, 2)
    pd.testing.assert_frame_equal(run.predictions, runs.read_run(expected).predictions)
    assert np.isnan(runs.read_run(expected).diverged)
    injected("diverging runs", 1)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_extreme_logits_give_the_losses_of_torch_in_float64(task):
    torch = pytest.importorskip("torch", reason="torch, of the extra [test], is the judge of the loss")
    random = np.random.default_rng(0)
    logits = random.choice([-1e4, -30.0, 0.0, 30.0, 1e4], (50, 4))
    labels = np.eye(4)[random.integers(4, size=50)]
    given, truth = torch.tensor(logits), torch.tensor(labels)
    if task == "multiclass":
        expected = torch.nn.functional.cross_entropy(given, truth).item()
        chances = torch.softmax(given, dim=1)
    else:
        expected = torch.nn.functional.binary_cross_entropy_with_logits(given, truth).item()
        chances = torch.sigmoid(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.cross_entropy(labels, logits, task) == pytest.approx(expected, rel=1e-12)
        found = metrics.probabilities(logits, task)
        scored = metrics.scores(labels, found, list("abcd"), task)
        scaled = temperature.scaled(found, task, temperature.fit_temperature(labels, found, task))
    np.testing.assert_allclose(found, chances.numpy(), atol=1e-7)
    assert np.isfinite([scored["macro_f1"], scored["macro_auroc"]]).all() and np.isfinite(scaled).all()


def test_ties_are_decided_alike_and_scored_as_scikit_learn_does():
    labels = np.eye(3, dtype=int)[np.arange(12) % 3]
    tied = np.full((12, 3), 1 / 3)
    assert (metrics.decide(tied, "multiclass")[:, 0] == 1).all()
    found = metrics.scores(labels, tied, CLASSES, "multiclass")
    assert found["macro_f1"] == pytest.approx(f1_score(labels.argmax(1), np.zeros(12, int), average="macro"))
    assert found["macro_auroc"] == roc_auc_score(labels, tied) == 0.5
    assert metrics.cross_entropy(labels, np.zeros((12, 3)), "multiclass") == pytest.approx(log_loss(labels, tied))


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_one_scan_and_a_class_without_positives_are_numbers_or_undefined(task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = comparison.macro_scores(np.array([[0, 1, 0]]), np.array([[0.2, 0.7, 0.1]]), ["p"], task)
        assert one["macro_f1"] == 1
        assert np.isnan([one["macro_auroc"], one["macro_f1_low"], one["macro_f1_high"]]).all()
        labels = np.zeros((6, 3), int)
        labels[:, 0] = 1
        scored = metrics.scores(labels, np.tile([0.6, 0.3, 0.1], (6, 1)), CLASSES, task)
        assert scored["macro_f1"] == 1 and np.isnan(scored["macro_auroc"])
        nothing = metrics.scores(np.zeros((6, 3), int), np.full((6, 3), 0.1), CLASSES, "multilabel")
        assert np.isnan([nothing["macro_f1"], nothing["macro_auroc"]]).all()


def write_run(folder, name: str, *, lacks: str = "", alone: str = "", broken: bool = False, diverged=None, seed=0):
    """A run's folder: `lacks` a class in test, has `alone` one class in all splits, or answers with NaN."""
    random, dataset = np.random.default_rng(seed), name.split("-")[0]
    classes, task = synthetic.CLASSES[dataset], "multilabel" if dataset == "xray8" else "multiclass"
    frames = []
    for split in ("train", "val", "test"):
        chosen = [alone] if alone else [word for word in classes if split != "test" or word != lacks]
        places = np.array([classes.index(chosen[row % len(chosen)]) for row in range(18)])
        labels = np.eye(len(classes), dtype=int)[places]
        given = metrics.probabilities(labels + random.normal(size=labels.shape), task)
        given = np.full_like(given, np.nan) if broken else given
        frame = pd.DataFrame({"split": split, "scan": [f"{split}{row}" for row in range(18)]})
        frame["patient"] = [f"{split}{row // 2}" for row in range(18)]
        for place, word in enumerate(classes):
            frame[f"label_{word}"], frame[f"probability_{word}"] = labels[:, place], given[:, place]
        frames.append(frame)
    (folder / name).mkdir(parents=True)
    pd.concat(frames).to_parquet(folder / name / "predictions.parquet", index=False)
    losses = [NAN] if broken else [1.0, 0.9, 0.8]
    columns = {key: losses for key in ("loss", "macro_f1", "val_loss", "val_macro_f1", "learning_rate")}
    curve = pd.DataFrame({"epoch": range(1, len(losses) + 1)} | columns).assign(seconds=1.0)
    write_csv(folder / name / "history.csv", curve)
    params = {"dataset": dataset, "backbone": name.split("-")[1], "weights": name.split("-")[2], "learning_rate": 0.01}
    params["learning_rate"] = float(name.rpartition("-lr")[2]) if "-lr" in name else 0.01
    (folder / name / "params.yaml").write_text(yaml.safe_dump(params))
    scored = {"classes": list(classes), "task": task, "diverged": diverged, "best_epoch": None if broken else 3}
    labels, given = runs.split_of(runs.Run(name, params, curve, pd.concat(frames), scored, classes, task), "test")
    write_json(folder / name / "metrics.json", scored | {"test": metrics.scores(labels, given, classes, task)})


@pytest.fixture(scope="module")
def stressed(tmp_path_factory):
    """Some models and an ablation: models that answer NaN, a class that test lacks, one class alone."""
    folder = tmp_path_factory.mktemp("study") / "runs"
    main = synthetic.run_table(("covid",), ablation=False)["run"].tolist()
    main += ["xray8-resnet34-random", "xray8-mobilenet_v3_large-random", "pneumonia-mobilenet_v3_large-random"]
    for place, name in enumerate(main):
        write_run(
            folder,
            name,
            broken=name in BROKEN,
            diverged=1 if "resnet34" in name else None,
            lacks={"covid": "viral_pneumonia", "xray8": "mass"}.get(name.split("-")[0], ""),
            alone="normal" if name.startswith("pneumonia") else "",
            seed=place,
        )
    for rate in (0.001, 0.1):
        name = f"covid-efficientnet_b1-random-lr{rate:g}"
        write_run(folder, name, broken=rate == 0.1, diverged=1 if rate == 0.1 else None)
    return folder


@pytest.mark.faults
def test_every_table_and_figure_of_a_stressed_study_is_made_and_says_what_is_undefined(stressed, injected):
    study, found = stressed.parent, runs.read_runs(stressed)
    repeated = {f"covid-resnet34-random{end}": found[f"covid-{model}-random"] for end, model in REPEATS.items()}
    main, ablation = main_runs(found), ablation_runs(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scored = run_tables.results(found)
        made = {
            "table_3": tables.table_3(scored),
            "model_pairs": comparison.pairs(main),
            "seeds": comparison.seeds(repeated),
            "class_scores": comparison.class_scores(found),
            "prevalence": comparison.natural_prevalence(main, {"covid": 9, "xray8": 9}, {"covid": 3, "xray8": 3}),
            "calibration": calibration.calibration(main),
            "thresholds": decision_thresholds.thresholds(main),
            "baselines": tables.baselines(scored, {"covid": 0.3, "xray8": NAN}, failures.best_on_validation(main)),
            "claims": claims.verdicts(RunEvidence(found, draws=200)),
        }
        errors, best = failures.error_counts(found), failures.best_on_validation(found)
        made["published_auroc"] = comparison.auroc_beside_published(made["class_scores"])
        curves = run_tables.histories(main)
        drawn = {
            3: paper.learning_curves(curves),
            4: paper.transfer_curves(curves[curves["backbone"] == "efficientnet_b1"]),
            9: paper.ablation_curves(run_tables.histories(ablation)),
            10: paper.ablation_bars(scored[scored["run"].isin(ablation)].rename(columns={"learning_rate": "rate"})),
            "reliability": reliability_diagrams(calibration.reliability(main), made["calibration"]),
        }
    for name, table in made.items():
        write_csv(study / "tables" / f"{name}.csv", table)
    for number, figure in drawn.items():
        files.save_figure(figure, study / "figures", number, dpi=40)

    assert not set(errors["run"]) & BROKEN and not set(best.values()) & BROKEN and len(best) == 3
    broken = made["table_3"].set_index("run").loc["covid-resnet34-random"]
    assert broken["diverged"] == 1
    assert broken[["macro_f1", "macro_f1_low", "macro_auroc", "best_epoch"]].isna().all()
    scores = made["class_scores"].set_index(["run", "class"])
    absent = scores.loc[("covid-mobilenet_v3_large-random", "viral_pneumonia")]
    assert absent["support"] == 0 and np.isnan(absent["auroc"]) and np.isnan(absent["f1"])
    pairs = made["model_pairs"]
    with_broken = (pairs["first"] == "covid-resnet34-random") | (pairs["second"] == "covid-resnet34-random")
    assert pairs.loc[with_broken, ["p", "difference", "auroc_p"]].isna().all(axis=None)
    assert pairs.loc[~with_broken & (pairs["dataset"] == "covid"), "p_holm"].notna().all()
    assert made["seeds"].loc[0, ["macro_f1_mean", "macro_f1_least", "best_epoch_most"]].isna().all()
    verdicts = made["claims"].set_index("id")
    assert set(verdicts["verdict"]) <= {"holds", "fails", "cannot tell", "not run"}
    asked = RunEvidence(found, draws=20)
    assert np.isnan(asked.best_epoch("R", "covid")).all() and np.isnan(asked.f1("R", "covid")).all()
    assert "covid-resnet34-random diverged in epoch 1" in asked.thin
    assert "learning rate 0.1 without a validation loss that is a number, diverged in epoch 1" in description(drawn[9])

    facts = {"dataset": "covid", "drawn": True, "scans": {"train": 18, "val": 18, "test": 18}, "size": 32}
    facts |= {"quarantine": [], "absent": 0, "flow": [], "missing": {"test": ["viral_pneumonia"]}}
    page = report.write_report(study, title="Stress", settings={}, datasets=[facts], versions={}).read_text()
    assert "ResNet-34, diverged in epoch 1: scores of the untrained model" in page
    assert "learning rate 0.1, diverged in epoch 1" in page
    assert "none, diverged in epoch 1: scores of the untrained model" in page
    assert ">undefined<" in page and "No scan of Viral pneumonia in test" in page
    assert ">nan<" not in page.lower()
    injected("runs of undefined numbers in one report", sum(run.diverged > 0 for run in found.values()))


def test_baselines_work_without_a_class_in_training(prepared):
    data = load_prepared(prepared)
    for kept in (["normal"], ["normal", "viral_pneumonia"]):
        rows = (data.records["split"] != "train") | (data.records[kept].sum(axis=1) > 0)
        records = data.records[rows].reset_index(drop=True)
        ages = np.arange(len(records)) % 7
        images = {
            split: data.images[split][rows[data.records["split"] == split].to_numpy()]
            for split in ("train", "val", "test")
        }
        less = Prepared(data.name, data.task, data.classes, data.size, 119.5, 75.0, records.assign(age=ages), images)
        table = baselines.trivial_baselines([less]).set_index("baseline")
        assert np.isfinite(table["macro_f1"]).all()
        given = run_tables.linear_probabilities(less)
        assert given.shape == (9, 3) and (given[:, CLASSES.index("bacterial_pneumonia")] == 0).all()
        np.testing.assert_allclose(given.sum(axis=1), 1)


def test_features_and_heat_maps_of_a_model_that_answers_nan_are_drawn(prepared, tmp_path):
    data, model = load_prepared(prepared), small_model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    write_run(tmp_path, "pneumonia-resnet34-random", broken=True)
    run = runs.read_run(tmp_path / "pneumonia-resnet34-random")
    predictions = pd.concat([run.predictions[run.predictions["split"] == "test"][:9]])
    object.__setattr__(run, "predictions", predictions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # of Keras on PyTorch
        vectors = {run.name: features(model, data.images["test"])}
        points = gallery.embeddings(vectors, data)
        scans, maps, chances = gallery.explanations({run.name: model}, {run.name: run}, data)
        separation = measures.feature_measures(vectors, data)
        heatmaps, _ = measures.heatmap_measures({run.name: model}, {run.name: run}, data)
        confusions = {run.name: metrics.confusion(*runs.split_of(run, "test"), run.classes)}
        paper.embeddings_and_confusions(points, confusions)
        assert "–" in description(paper.grad_cams(scans, maps, chances))
    assert len(points) == len(separation) == len(heatmaps) == 9
    assert heatmaps[["asymmetry", "area", "row"]].isna().all(axis=None)


def test_a_score_that_is_undefined_is_called_so_in_the_section_of_a_run():
    labels = np.eye(3, dtype=int)[[0, 0, 1, 1]]
    scored = metrics.scores(labels, metrics.probabilities(labels * 1e4, "multiclass"), CLASSES, "multiclass")
    (body,) = report_tables.scores_of_classes(scored["per_class"])["bodies"]
    shown = [[cell["text"] for cell in row] for row in body["rows"]]
    assert shown[2][4] == "undefined" and shown[0][4] == "1.000"


@pytest.mark.faults
def test_a_study_of_a_diverging_run_and_of_a_class_that_lacks_in_a_split_is_complete(tmp_path, injected):
    study, results = small_study(tmp_path, "*-mobilenet_v3_large-random")
    (study / "xray8-mobilenet_v3_large-random.yaml").unlink()
    diverging = study / "pneumonia-mobilenet_v3_large-random.yaml"
    diverging.write_text(diverging.read_text() + "learning_rate: 1000000.0\nfinal_learning_rate: 1000000.0\n")
    source = draw_source("covid", tmp_path / "partial", scans=48)
    for scan in sorted(source.glob("*/Viral Pneumonia/images/*"))[2:]:
        scan.unlink()
    done = small_report(study, "--source", f"covid={source}")
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(results / "tables" / "table_3.csv").set_index("run")
    assert table.loc["pneumonia-mobilenet_v3_large-random", "diverged"] == 1
    assert np.isnan(table.loc["covid-mobilenet_v3_large-random", "diverged"])
    page = (results / "report.html").read_text()
    assert "MobileNetV3-Large, diverged in epoch 1" in page
    assert "No scan of Viral pneumonia in val" in page
    assert (results / "tables" / "claims.csv").is_file()
    injected("runs of undefined numbers in one report", 2)

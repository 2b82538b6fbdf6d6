"""What the study's claims are judged by: the runs of a study, or the paper's own tables, asked in the same words.

Models go by the letters of claims.yaml: R ResNet-34, M MobileNetV3-Large and E EfficientNet-B1 from random weights, T
EfficientNet-B1 from pretrained ones. An answer is an array (seeds, draws), so that a claim can be worked out anew for
every seed and every draw of patients.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras import intervals, metrics
from lungkeras.datasets import title
from lungkeras.published import published
from lungkeras.runs import REPEAT, Run, patients_of, read_runs, split_of
from lungkeras.style import heading

FEWEST_TIMED_EPOCHS = 5
IMAGENET_IMAGES = 50_000
P, C, X = "pneumonia", "covid", "xray8"
BACKBONES = {"R": "resnet34", "M": "mobilenet_v3_large", "E": "efficientnet_b1", "T": "efficientnet_b1"}
NAMES = {"R": "ResNet", "M": "MobileNet", "E": "EfficientNet", "T": "pretrained"}


class Evidence:
    """What predicates ask for. An answer is an array (seeds, draws), either of length 1 where it does not vary.

    This one knows nothing: every answer is NaN, and what was asked for is noted in `missing`. `figures` collects the
    values that were answered, {quantity: {name: value}}, `thin` what is there and too little to be judged.
    """

    seeds = 1

    def __init__(self):
        self.figures: dict[str, dict[str, float]] = {}
        self.missing: list[str] = []
        self.thin: list[str] = []

    def forget(self) -> None:
        """Clears what was noted, before the next claim."""
        self.figures, self.missing, self.thin = {}, [], []

    def answer(self, quantity: str, name: str, values: np.ndarray | None, point: float | None = None) -> np.ndarray:
        """Notes a figure, or its absence where `values` is None, and returns it."""
        if values is None:
            self.missing.append(f"{quantity} ({name})")
            return np.full((1, 1), np.nan)
        values = np.asarray(values, dtype=float)
        self.figures.setdefault(quantity, {})[name] = float(np.mean(values)) if point is None else float(point)
        return values

    def of_model(self, kind: str, model: str, dataset: str) -> tuple[np.ndarray, float] | None:
        """(values, point) of f1, seconds, best_epoch, epochs, instability, first or best validation F1 of a model."""
        return None

    def of_backbone(self, kind: str, backbone: str) -> np.ndarray | None:
        """parameters, operations or top5."""
        return None

    def of_rate(self, kind: str, rate: float) -> tuple[np.ndarray, float] | None:
        """f1, instability, lowest_loss or earliest (epoch) of the ablation's run at a learning rate."""
        return None

    def of_variant(self, model: str, dataset: str, suffix: str) -> tuple[np.ndarray, float] | None:
        """Test macro F1 of a run that differs from the model's by what its suffix says.

        -unweighted   trained with `class_weights: false`
        -unprepared   on scans that were neither equalised nor blurred
        """
        return None

    def of_test_scans(self, kind: str, model: str, dataset: str, **which) -> tuple[np.ndarray, float] | None:
        """A mean over test scans of what heat maps or features show."""
        return None

    def _asked(self, quantity: str, name: str, answer: tuple[np.ndarray, float] | None) -> np.ndarray:
        return self.answer(quantity, name, *(answer or (None,)))

    def f1(self, model: str, dataset: str) -> np.ndarray:
        return self._model("macro F1", "f1", model, dataset)

    def seconds(self, model: str, dataset: str) -> np.ndarray:
        return self._model("seconds an epoch", "seconds", model, dataset)

    def best_epoch(self, model: str, dataset: str) -> np.ndarray:
        return self._model("best epoch", "best_epoch", model, dataset)

    def epochs(self, model: str, dataset: str) -> np.ndarray:
        return self._model("epochs trained", "epochs", model, dataset)

    def instability(self, model: str, dataset: str) -> np.ndarray:
        return self._model("change of the validation loss from epoch to epoch", "instability", model, dataset)

    def first_validation_f1(self, model: str, dataset: str) -> np.ndarray:
        return self._model("validation F1 after one epoch", "first_validation_f1", model, dataset)

    def best_validation_f1(self, model: str, dataset: str) -> np.ndarray:
        return self._model("best validation F1", "best_validation_f1", model, dataset)

    def normal_f1(self, model: str, dataset: str) -> np.ndarray:
        return self._model("F1 of normal against the rest", "normal_f1", model, dataset)

    def share_between_pneumonias(self, model: str, dataset: str) -> np.ndarray:
        return self._model("share of errors between the pneumonias", "share_between_pneumonias", model, dataset)

    def external_f1(self, model: str, dataset: str) -> np.ndarray:
        return self._model("macro F1 on a held-out source", "external_f1", model, dataset)

    def _model(self, quantity: str, kind: str, model: str, dataset: str) -> np.ndarray:
        return self._asked(quantity, f"{heading(dataset)}: {self.name(model)}", self.of_model(kind, model, dataset))

    def name(self, model: str) -> str:
        """What figures call a model: the paper's short words."""
        return NAMES[model]

    def parameters(self, model: str) -> np.ndarray:
        return self._backbone("parameters (million)", "parameters", model)

    def operations(self, model: str) -> np.ndarray:
        return self._backbone("multiply-accumulates (giga)", "operations", model)

    def top5(self, model: str) -> np.ndarray:
        return self._backbone("ImageNet top-5 (%)", "top5", model)

    def _backbone(self, quantity: str, kind: str, model: str) -> np.ndarray:
        return self.answer(quantity, self.name(model), self.of_backbone(kind, BACKBONES[model]))

    def rate_f1(self, rate: float) -> np.ndarray:
        return self._asked("macro F1", f"{rate:g}", self.of_rate("f1", rate))

    def rate_instability(self, rate: float) -> np.ndarray:
        quantity = "change of the validation loss from epoch to epoch"
        return self._asked(quantity, f"{rate:g}", self.of_rate("instability", rate))

    def rate_lowest_loss(self, rate: float) -> np.ndarray:
        return self._asked("lowest validation loss", f"{rate:g}", self.of_rate("lowest_loss", rate))

    def rate_earliest(self, rate: float) -> np.ndarray:
        quantity = "first epoch near the best validation F1 of all rates"
        return self._asked(quantity, f"{rate:g}", self.of_rate("earliest", rate))

    def ablation_pretrained(self) -> np.ndarray:
        """The share of the ablation's runs that started from ImageNet weights."""
        return self._asked("share of the ablation's runs", "from ImageNet weights", self.of_rate("pretrained", 0.0))

    def variant_f1(self, model: str, dataset: str, suffix: str, about: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(model)} {about}"
        return self._asked("macro F1", name, self.of_variant(model, dataset, suffix))

    def heatmap(self, kind: str, model: str, dataset: str, label: str) -> np.ndarray:
        quantity = {
            "asymmetry": "one-sidedness of heat maps",
            "area": "area of heat maps",
            "row": "depth of heat maps",
        }
        name = f"{heading(dataset)}, {title(label)}: {self.name(model)}"
        return self._asked(quantity[kind], name, self.of_test_scans(kind, model, dataset, label=label))

    def heatmap_area(self, model: str, dataset: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(model)}"
        return self._asked("area of heat maps", name, self.of_test_scans("area", model, dataset))

    def heatmap_agreement(self, first: str, second: str, dataset: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(first)} and {self.name(second)}"
        return self._asked(
            "correlation of heat maps", name, self.of_test_scans("agreement", first, dataset, other=second)
        )

    def purity(self, model: str, dataset: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(model)}"
        return self._asked("purity of 10 neighbours", name, self.of_test_scans("purity", model, dataset))

    def silhouette(self, model: str, dataset: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(model)}"
        return self._asked("silhouette", name, self.of_test_scans("silhouette", model, dataset))


class PaperEvidence(Evidence):
    """The paper's own Tables 2 and 3, and what it says of its ablation: no draws, one seed."""

    def of_model(self, kind, model, dataset):
        keys = {"f1": "macro_f1", "seconds": "seconds_per_epoch", "best_epoch": "best_epoch"}
        if kind == "epochs":
            value = published()["training"]["epochs"]
        elif kind in keys:
            weights = "imagenet" if model == "T" else "random"
            value = published()["runs"][f"{dataset}-{BACKBONES[model]}-{weights}"][keys[kind]]
        else:
            return None
        return np.full((1, 1), float(value)), value

    def of_backbone(self, kind, backbone):
        keys = {"parameters": "parameters_millions", "operations": "giga_operations", "top5": "imagenet_top5"}
        return np.full((1, 1), published()["complexity"][backbone][keys[kind]])

    def of_rate(self, kind, rate):
        if kind != "pretrained":
            return None
        value = float(published()["ablation"]["weights"] == "imagenet")
        return np.full((1, 1), value), value


class RunEvidence(Evidence):
    """The runs of a study.

    Args:
        runs: {name: run}, as `read_runs` gives them. A run named as another with -seed<N> after it repeats that one.
        complexity: Table 2: columns backbone, parameters_millions, giga_operations.
        features: of each test scan and run, columns run, patient, purity, silhouette.
        heatmaps: of each test scan and run, columns run, patient, label (true class), correct (0 or 1), asymmetry,
            area (shares of 1), row (0 top, 1 bottom).
        agreement: of each test scan and pair of runs, columns first, second (runs), patient, correlation.
        external: columns run, macro_f1 on a source that no run was trained on.
        cards: {backbone: top-5 accuracy on ImageNet in percent}; by default as published (published.yaml).
        draws, seed: of the bootstrap over patients.
    """

    def __init__(
        self,
        runs: Mapping[str, Run],
        *,
        complexity: pd.DataFrame | None = None,
        features: pd.DataFrame | None = None,
        heatmaps: pd.DataFrame | None = None,
        agreement: pd.DataFrame | None = None,
        external: pd.DataFrame | None = None,
        cards: Mapping[str, float] | None = None,
        draws: int = intervals.DRAWS,
        seed: int = intervals.SEED,
    ):
        super().__init__()
        self.runs = runs
        self.complexity, self.features, self.heatmaps = complexity, features, heatmaps
        self.agreement, self.external = agreement, external
        self.cards = cards or published()["imagenet_cards"]
        self.draws, self.seed = draws, seed
        self.repeats = sorted({found[0] if (found := REPEAT.search(name)) else "" for name in runs})
        self.seeds = len(self.repeats)
        self.drawn: dict[str, dict[str, np.ndarray]] = {}

    def weights(self, model: str) -> str:
        """random; of T, imagenet or, where the study has no such run, transfer."""
        pretrained = any(run.weights == "imagenet" for run in self.runs.values())
        return ("imagenet" if pretrained else "transfer") if model == "T" else "random"

    def run_name(self, model: str, dataset: str) -> str:
        return f"{dataset}-{BACKBONES[model]}-{self.weights(model)}"

    def repeated(self, name: str, measure: Callable[[Run], tuple[np.ndarray, float]]):
        """A measure of a run, a row a seed; None where a seed lacks the run."""
        chosen = [self.runs.get(name + repeat) for repeat in self.repeats]
        if any(run is None for run in chosen):
            return None
        self.thin += [f"{run.name} diverged in epoch {run.diverged:.0f}" for run in chosen if run.diverged > 0]
        rows, points = zip(*(measure(run) for run in chosen), strict=True)
        return np.stack(np.broadcast_arrays(*(np.atleast_1d(row) for row in rows))), float(np.mean(points))

    def of_model(self, kind, model, dataset):
        if kind == "external_f1":
            return self._external(self.run_name(model, dataset))
        measures = {
            "f1": self._f1,
            "seconds": self._seconds,
            "best_epoch": lambda run: _same(run.best_epoch if np.isnan(run.diverged) else np.nan),
            "epochs": lambda run: _same(len(run.history) if np.isnan(run.diverged) else np.nan),
            "instability": _instability,
            "first_validation_f1": lambda run: _same(run.history["val_macro_f1"].iloc[0]),
            "best_validation_f1": lambda run: _same(run.history["val_macro_f1"].max()),
            "normal_f1": self._normal_f1,
            "share_between_pneumonias": self._share_between_pneumonias,
        }
        return self.repeated(self.run_name(model, dataset), measures[kind])

    def of_backbone(self, kind, backbone):
        if kind == "top5":
            # What the card of a model says is itself a count of right answers, with the error of a count.
            share = self.cards[backbone] / 100
            random = np.random.default_rng([self.seed, zlib.crc32(backbone.encode())])
            return 100 * random.binomial(IMAGENET_IMAGES, share, (1, self.draws)) / IMAGENET_IMAGES
        column = {"parameters": "parameters_millions", "operations": "giga_operations"}[kind]
        if self.complexity is None or backbone not in set(self.complexity["backbone"]):
            return None
        return np.full((1, 1), self.complexity.set_index("backbone").loc[backbone, column])

    def of_rate(self, kind, rate):
        ablation = {
            run.params["learning_rate"]: name
            for name, run in self.runs.items()
            if re.search(r"-lr[\d.]+$", name) and run.dataset == C
        }
        if kind == "pretrained":
            shares = [float(self.runs[name].weights == "imagenet") for name in ablation.values()]
            return _same(np.mean(shares)) if shares else None
        if rate not in ablation:
            return None
        measures = {
            "f1": self._f1,
            "instability": _instability,
            "lowest_loss": lambda run: _same(run.history["val_loss"].min()),
            "earliest": lambda run: _same(_first_epoch_near(run, self._best_of_ablation(ablation, run))),
        }
        return self.repeated(ablation[rate], measures[kind])

    def _best_of_ablation(self, ablation: Mapping[float, str], run: Run) -> float:
        """The best validation F1 of any rate, among runs of the same seed as `run`."""
        repeat = found[0] if (found := REPEAT.search(run.name)) else ""
        others = [self.runs[name + repeat] for name in ablation.values() if name + repeat in self.runs]
        return np.fmax.reduce([other.history["val_macro_f1"].max() for other in others])

    def of_variant(self, model, dataset, suffix):
        run = self.runs.get(self.run_name(model, dataset) + suffix)
        return None if run is None else self._f1(run)

    def of_test_scans(self, kind, model, dataset, *, label=None, other=None):
        run = self.run_name(model, dataset)
        if kind in ("purity", "silhouette"):
            return self._mean_of(self.features, {"run": run}, kind)
        if kind == "agreement":
            pair = sorted([run, self.run_name(other, dataset)])
            return self._mean_of(self.agreement, dict(zip(("first", "second"), pair, strict=True)), "correlation")
        return self._mean_of(self.heatmaps, {"run": run}, kind, label=label, correct=label is not None)

    def _mean_of(self, table: pd.DataFrame | None, where: Mapping, column: str, label=None, correct=False):
        if table is None:
            return None
        rows = table[np.logical_and.reduce([table[key] == value for key, value in where.items()])]
        asked = np.ones(len(rows), dtype=bool)
        if label is not None:
            asked &= (rows["label"] == label).to_numpy()
        if correct:
            asked &= rows["correct"].to_numpy(bool)
        asked &= rows[column].notna().to_numpy()
        if rows.empty:
            return None
        if not asked.any():
            self.thin.append(f"{where.get('run') or ' and '.join(where.values())} has no test scan to go by")
            return np.full((1, 1), np.nan), np.nan
        values = np.where(asked, rows[column].fillna(0.0), 0.0)
        sums = intervals.sums_by_patient(np.stack([values, asked], axis=1), rows["patient"])
        total, scans = intervals.drawn_sums(sums, self.draws, self.seed).T
        means = np.divide(total, scans, out=np.full(self.draws, np.nan), where=scans > 0)
        return means[None], float(values.sum() / asked.sum())

    def _external(self, run: str):
        if self.external is None or run not in set(self.external["run"]):
            return None
        return _same(self.external.set_index("run").loc[run, "macro_f1"])

    def _seconds(self, run: Run):
        timed = run.history["seconds"].to_numpy(float)[1:]
        if len(timed) < FEWEST_TIMED_EPOCHS:
            self.thin.append(f"{heading(run.dataset)} has {len(timed)} timed epochs, {FEWEST_TIMED_EPOCHS} are needed")
            return np.array([np.nan]), float(np.median(timed)) if len(timed) else np.nan
        random = np.random.default_rng([self.seed, zlib.crc32(run.name.encode())])
        drawn = timed[random.integers(len(timed), size=(self.draws, len(timed)))]
        return np.median(drawn, axis=1), float(np.median(timed))

    def _f1(self, run: Run):
        return self._confusions(run)["f1"], self._confusions(run)["f1_point"]

    def _normal_f1(self, run: Run):
        return self._confusions(run)["normal"], self._confusions(run)["normal_point"]

    def _share_between_pneumonias(self, run: Run):
        return self._confusions(run)["between"], self._confusions(run)["between_point"]

    def _confusions(self, run: Run) -> dict[str, np.ndarray]:
        """What is worked out from a run's decisions on the test split, once."""
        if run.name not in self.drawn:
            labels, probabilities = split_of(run, "test")
            if not np.isfinite(probabilities).all():
                nothing = dict.fromkeys(("f1", "normal", "between"), np.full(1, np.nan))
                return nothing | {f"{name}_point": np.nan for name in nothing}
            decided = metrics.decide(probabilities, run.task)
            patients = patients_of(run, "test")
            f1 = intervals.drawn_f1(labels, decided, patients, self.draws, self.seed)
            whole = intervals.f1_of_counts(intervals.decision_counts(labels, decided, patients).sum(axis=0))
            known = {"f1": f1.mean(axis=1), "f1_point": float(whole.mean())}
            if run.dataset == P:
                normal = run.classes.index("normal")
                known |= {"normal": f1[:, normal], "normal_point": float(whole[normal])}
                known |= self._between(labels, decided, patients, normal)
            self.drawn[run.name] = known
        return self.drawn[run.name]

    def _between(self, labels, decided, patients, normal: int) -> dict[str, np.ndarray]:
        wrong = (labels * decided).sum(axis=1) == 0
        among = wrong & (labels[:, normal] == 0) & (decided[:, normal] == 0)
        sums = intervals.sums_by_patient(np.stack([among, wrong], axis=1), patients)
        among, wrong = intervals.drawn_sums(sums, self.draws, self.seed).T
        total = sums.sum(axis=0)
        # Without an error, none lies elsewhere.
        shares = np.divide(among, wrong, out=np.ones(self.draws), where=wrong > 0)
        return {"between": shares, "between_point": float(total[0] / total[1]) if total[1] else 1.0}


def _same(value: float) -> tuple[np.ndarray, float]:
    """A quantity that no draw of patients changes."""
    return np.array([float(value)]), float(value)


def _instability(run: Run) -> tuple[np.ndarray, float]:
    losses = run.history["val_loss"].to_numpy(float)
    return _same(np.abs(np.diff(losses)).mean() / np.median(losses) if len(losses) > 1 else np.nan)


def _first_epoch_near(run: Run, best: float, within: float = 0.005) -> float:
    near = run.history["val_macro_f1"] >= best - within
    return float(run.history["epoch"][near].iloc[0]) if near.any() else np.inf


def study_evidence(folder: Path | str) -> RunEvidence:
    """The evidence of a study's folder: its runs, Table 2, and what its notebooks found of features and heat maps.

    reports/<study>/runs, tables/table_2.csv, and where they are tables/features.csv, tables/heatmaps.csv and
    tables/heatmap_agreement.csv, with the columns that `RunEvidence` names.
    """
    tables = Path(folder) / "tables"
    names = {
        "complexity": "table_2",
        "features": "features",
        "heatmaps": "heatmaps",
        "agreement": "heatmap_agreement",
    }
    files = {key: tables / f"{name}.csv" for key, name in names.items()}
    found = {key: pd.read_csv(file, dtype={"patient": str}) for key, file in files.items() if file.is_file()}
    return RunEvidence(read_runs(Path(folder) / "runs"), **found)

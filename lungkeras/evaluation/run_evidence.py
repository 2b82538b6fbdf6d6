"""The evidence of a study's runs for the paper's claims: in every draw of patients, and with every seed."""

import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from lungkeras.evaluation.comparison import macro_auroc_interval
from lungkeras.evaluation.drawn_errors import DrawnErrors, drawn_errors
from lungkeras.evaluation.paper.evidence import BACKBONES, C, Evidence
from lungkeras.evaluation.paper.published import has_published, published
from lungkeras.scores import intervals
from lungkeras.study.runs import REPEAT, Run, patients_of, read_runs, split_of
from lungkeras.system.untrusted import table_files

FEWEST_SEEDS = 3
IMAGENET_IMAGES = 50_000


class RunEvidence(Evidence):
    """The runs of a study.

    Args:
        runs: {name: run}, as `read_runs` returns them. A run with the name of another plus -seed<N> repeats that one.
        complexity: Table 2: columns backbone, parameters_millions, giga_operations.
        features: per test scan and run, columns run, patient, purity, silhouette.
        heatmaps: per test scan and run, columns run, patient, label (true class), correct (0 or 1), asymmetry,
            area (shares of 1), row (0 top, 1 bottom).
        agreement: one row per test scan and pair of runs, columns first, second (runs), patient, correlation.
        external: columns run, macro_f1 on a source that no run was trained on and, if known, its interval low, high.
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
        self.of_the_paper = not runs or has_published(run.dataset for run in runs.values())
        self.complexity, self.features, self.heatmaps = complexity, features, heatmaps
        self.agreement, self.external = agreement, external
        self.cards = cards or published()["imagenet_cards"]
        self.draws, self.seed = draws, seed
        self.repeats = sorted({found[0] if (found := REPEAT.search(name)) else "" for name in runs})
        self.seeds = len(self.repeats)
        self.drawn: dict[str, DrawnErrors] = {}

    def weights(self, model: str) -> str:
        """random; for T, imagenet or, if the study has no such run, transfer."""
        pretrained = any(run.weights == "imagenet" for run in self.runs.values())
        return ("imagenet" if pretrained else "transfer") if model == "T" else "random"

    def lacks(self, need):
        if need == "imagenet weights" and self.weights("T") != "imagenet":
            return "a run from ImageNet weights (features of other chest films are not what the paper transferred)"
        fewest = min((len(run.history) for run in self.runs.values()), default=0)
        if need == "100 epochs" and fewest < published()["training"]["epochs"]:
            return f"runs of 100 epochs (some had {fewest})"
        return ""

    def run_name(self, model: str, dataset: str) -> str:
        return f"{dataset}-{BACKBONES[model]}-{self.weights(model)}"

    def repeated(self, name: str, measure: Callable[[Run], tuple[np.ndarray, float]]):
        """A measure of a run, one row per seed; None if a seed lacks the run."""
        chosen = [self.runs.get(name + repeat) for repeat in self.repeats]
        if any(run is None for run in chosen):
            return None
        self.thin += [f"{run.name} diverged in epoch {run.diverged:.0f}" for run in chosen if run.diverged > 0]
        rows, points = zip(*(measure(run) for run in chosen), strict=True)
        return np.stack(np.broadcast_arrays(*(np.atleast_1d(row) for row in rows))), float(np.mean(points))

    def of_model(self, kind, model, dataset):
        if kind == "external_f1":
            return self._external(self.run_name(model, dataset))
        name = self.run_name(model, dataset)
        trainings = {
            "best_epoch": lambda run: run.best_epoch if np.isnan(run.diverged) else np.nan,
            "instability": _instability,
            "first_validation_f1": lambda run: run.history["val_macro_f1"].iloc[0],
            "best_validation_f1": lambda run: run.history["val_macro_f1"].max(),
        }
        if kind in trainings:
            return self.of_training(name, trainings[kind])
        measures = {
            "f1": self._f1,
            "seconds": self._seconds,
            "epochs": lambda run: _same(len(run.history) if np.isnan(run.diverged) else np.nan),
            "normal_f1": self._normal_f1,
            "share_between_pneumonias": self._share_between_pneumonias,
        }
        return self.repeated(name, measures[kind])

    def of_backbone(self, kind, backbone):
        if kind == "top5":
            # The accuracy on a model's card is a count of correct answers, with the error of a count.
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
        if kind == "f1":
            return self.repeated(ablation[rate], self._f1)
        trainings = {
            "instability": _instability,
            "lowest_loss": lambda run: run.history["val_loss"].min(),
            "earliest": lambda run: _first_epoch_near(run, self._best_of_ablation(ablation, run)),
        }
        return self.of_training(ablation[rate], trainings[kind])

    def _best_of_ablation(self, ablation: Mapping[float, str], run: Run) -> float:
        """The best validation F1 over all rates, among runs with the same seed as `run`."""
        repeat = found[0] if (found := REPEAT.search(run.name)) else ""
        others = [self.runs[name + repeat] for name in ablation.values() if name + repeat in self.runs]
        return np.fmax.reduce([other.history["val_macro_f1"].max() for other in others])

    def of_variant(self, model, dataset, suffix):
        return self.repeated(self.run_name(model, dataset) + suffix, self._f1)

    def of_test_scans(self, kind, model, dataset, *, label=None, other=None):
        run = self.run_name(model, dataset)
        asked = [run] + ([self.run_name(other, dataset)] if other else [])
        chance = [name for name in asked if name in self.runs and self.at_chance(name)]
        if chance:
            self.thin += [f"{name} does no better than chance" for name in chance]
            return np.full((1, 1), np.nan), np.nan
        if kind in ("purity", "silhouette"):
            return self._mean_of(self.features, {"run": run}, kind)
        if kind == "agreement":
            pair = sorted([run, self.run_name(other, dataset)])
            return self._mean_of(self.agreement, dict(zip(("first", "second"), pair, strict=True)), "correlation")
        return self._mean_of(self.heatmaps, {"run": run}, kind, label=label, correct=label is not None)

    def _mean_of(self, table: pd.DataFrame | None, where: Mapping, column: str, label=None, correct=False):
        dataset = next(iter(where.values())).split("-")[0]
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
            self.thin.append(f"{where.get('run') or ' and '.join(where.values())} has no test scan to measure")
            return np.full((1, 1), np.nan), np.nan
        values = np.where(asked, rows[column].fillna(0.0), 0.0)
        sums = intervals.sums_by_patient(np.stack([values, asked], axis=1), rows["patient"])
        seed = self._draws_of(dataset)
        total, scans = intervals.drawn_sums(sums, self.draws, seed).T
        means = np.divide(total, scans, out=np.full(self.draws, np.nan), where=scans > 0)
        return means[None], float(values.sum() / asked.sum())

    def _external(self, run: str):
        if self.external is None or run not in set(self.external["run"]):
            return None
        row = self.external.set_index("run").loc[run]
        value = float(row["macro_f1"])
        if "low" not in row:
            return _same(value)
        # These patients are not those of the test split: the draws are independent, as wide as the interval.
        random = np.random.default_rng([self.seed, zlib.crc32(f"{run} elsewhere".encode())])
        spread = (row["high"] - row["low"]) / (2 * norm.ppf((1 + intervals.LEVEL) / 2))
        return np.clip(random.normal(value, spread, (1, self.draws)), 0, 1), value

    def _seconds(self, run: Run):
        """Epochs of one run share the state of the machine, so they can't show how another run would compare."""
        self.thin.append(
            "runs were timed one after another: a comparison needs steps timed in turns on an idle machine"
        )
        timed = run.history["seconds"].to_numpy(float)[1:]
        return np.array([np.nan]), float(np.median(timed)) if len(timed) else np.nan

    def _draws_of(self, dataset: str) -> int:
        """The seed of the draws of a dataset's patients: it differs between collections of equal size."""
        return self.seed + zlib.crc32(dataset.encode())

    def of_training(self, name: str, measure: Callable[[Run], float]):
        """A quantity of whole trainings: the mean over seeds, drawn from Student's t; unknown below three seeds."""
        found = self.repeated(name, lambda run: _same(measure(run)))
        if found is None:
            return None
        values, point = found[0].ravel(), found[1]
        if len(values) < FEWEST_SEEDS:
            self.thin.append(f"trained with {len(values)} seed{'s' * (len(values) > 1)}, {FEWEST_SEEDS} are needed")
            return np.full((1, 1), np.nan), point
        if self.at_chance(name):
            self.thin.append(f"{name} does no better than chance")
            return np.full((1, 1), np.nan), point
        random = np.random.default_rng([self.seed, zlib.crc32(f"{name} {measure.__name__}".encode())])
        error = np.nan_to_num(values.std(ddof=1)) / np.sqrt(len(values))
        return (values.mean() + error * random.standard_t(len(values) - 1, self.draws))[None], point

    def at_chance(self, name: str) -> bool:
        """Whether the interval of a run's macro AUROC on the test split holds 0.5."""
        run = self.runs[name]
        low, _ = macro_auroc_interval(*split_of(run, "test"), patients_of(run, "test"))
        return not low > 0.5

    def _f1(self, run: Run):
        return self._errors_of(run).macro_f1

    def _normal_f1(self, run: Run):
        return self._errors_of(run).normal_f1

    def _share_between_pneumonias(self, run: Run):
        return self._errors_of(run).between_pneumonias

    def _errors_of(self, run: Run) -> DrawnErrors:
        if run.name not in self.drawn:
            self.drawn[run.name] = drawn_errors(run, self.draws, self._draws_of(run.dataset))
        return self.drawn[run.name]


def _same(value: float) -> tuple[np.ndarray, float]:
    """A quantity that no draw of patients changes."""
    return np.array([float(value)]), float(value)


def _instability(run: Run) -> float:
    losses = run.history["val_loss"].to_numpy(float)
    return np.abs(np.diff(losses)).mean() / np.median(losses) if len(losses) > 1 else np.nan


def _first_epoch_near(run: Run, best: float, within: float = 0.005) -> float:
    near = run.history["val_macro_f1"] >= best - within
    return float(run.history["epoch"][near].iloc[0]) if near.any() else np.inf


def study_evidence(folder: Path | str) -> RunEvidence:
    """The evidence in a study's folder: its runs, Table 2, and its notebooks' measures of features and heat maps.

    reports/<study>/runs, tables/table_2.csv, and, if present, tables/features.csv, tables/heatmaps.csv and
    tables/heatmap_agreement.csv, with the columns named in `RunEvidence`, and the macro F1 of tables/external.csv.
    """
    tables = Path(folder) / "tables"
    names = {
        "complexity": "table_2",
        "features": "features",
        "heatmaps": "heatmaps",
        "agreement": "heatmap_agreement",
    }
    files = {key: tables / f"{name}.csv" for key, name in names.items()}
    found = {key: table_files.read_csv(file, dtype={"patient": str}) for key, file in files.items() if file.is_file()}
    if (elsewhere := tables / "external.csv").is_file():
        scores = table_files.read_csv(elsewhere)
        found["external"] = scores[scores["measure"] == "macro_f1"].rename(columns={"value": "macro_f1"})
    return RunEvidence(read_runs(Path(folder) / "runs"), **found)

"""The evidence for the study's claims, and that of the paper's own tables (run_evidence: of a study's runs).

Models go by the letters of claims.yaml: R ResNet-34, M MobileNetV3-Large and E EfficientNet-B1 from random weights, T
EfficientNet-B1 from pretrained ones. An answer is an array (seeds, draws), so a claim can be evaluated for every seed
and every draw of patients.
"""

import numpy as np

from lungkeras.datasets.registry import title
from lungkeras.evaluation.paper.published import published
from lungkeras.study.words import heading

P, C, X = "pneumonia", "covid", "xray8"
BACKBONES = {"R": "resnet34", "M": "mobilenet_v3_large", "E": "efficientnet_b1", "T": "efficientnet_b1"}
NAMES = {"R": "ResNet", "M": "MobileNet", "E": "EfficientNet", "T": "pretrained"}


class Evidence:
    """The quantities that predicates use. An answer is an array (seeds, draws), either of length 1 if it does not vary.

    This base class has no values: every answer is NaN, and each request is recorded in `missing`. `figures` collects
    the values returned, {quantity: {name: value}}; `thin` lists what exists but is too little to judge.
    """

    seeds = 1
    of_the_paper = True  # whether it is about collections of the paper

    def __init__(self):
        self.figures: dict[str, dict[str, float]] = {}
        self.missing: list[str] = []
        self.thin: list[str] = []

    def forget(self) -> None:
        """Clears what was noted, before the next claim."""
        self.figures, self.missing, self.thin = {}, [], []

    def lacks(self, need: str) -> str:
        """What a claim `needs` ("imagenet weights", "100 epochs") that the runs lack, in words; empty if nothing."""
        return ""

    def answer(self, quantity: str, name: str, values: np.ndarray | None, point: float | None = None) -> np.ndarray:
        """Records a figure, or its absence if `values` is None, and returns it."""
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
        """Test macro F1 of a variant of the model's run, named by its suffix.

        -unweighted   trained with `class_weights: false`
        -unprepared   on scans that were neither equalised nor blurred
        """
        return None

    def of_test_scans(self, kind: str, model: str, dataset: str, **which) -> tuple[np.ndarray, float] | None:
        """A mean over test scans of a measure of heat maps or features."""
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
    """The paper's own Tables 2 and 3, and its statements on the ablation: no draws, one seed."""

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

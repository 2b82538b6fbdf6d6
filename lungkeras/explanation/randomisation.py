"""Do heat maps depend on what the model has learned? Its weights are randomised, stage by stage, from the logits down.

Adebayo et al. 2018 (arXiv:1810.03292): a map that does not change when the weights are replaced shows the scan's edges,
not how the model decides. The similarity of two maps is measured by SSIM (Wang et al. 2004,
doi:10.1109/TIP.2003.819861) and by rank correlation. Any two smooth maps are somewhat similar, so maps of different
scans are compared too, as the reference level for "no longer similar".
"""

from collections.abc import Mapping, Sequence
from itertools import count

import numpy as np
import pandas as pd

from lungkeras.explanation.gradcam import METHODS as EXPLANATIONS
from lungkeras.explanation.gradcam import heat_maps
from lungkeras.preparation.folder import Prepared
from lungkeras.scores import intervals, share_intervals
from lungkeras.scores.correlation import rank_correlations
from lungkeras.study.runs import Run

METHODS = tuple(EXPLANATIONS)
MOST_SCANS = 12
TRAINED, HEAD = "trained", "head"
WINDOW, SIGMA = 5, 1.5  # SSIM's Gaussian: pixels to either side, standard deviation
OTHERS = ["other_ssim", "other_rank_correlation"]
KEYS = ["dataset", "run", "method", "step", "stage"]
SIMILARITIES = [*KEYS, "scan", "patient", "class", "ssim", "rank_correlation", *OTHERS, "empty"]
SUMMARY = [*KEYS, "scans", "ssim", "ssim_low", "ssim_high", "rank_correlation", *OTHERS, "empty"]


def stages(model) -> dict[str, list[str]]:
    """{stage: its layers with weights}, from the logits down: `head`, then one stage per grid, as in "2 × 2", "4 × 4".

    A layer belongs to the grid of its output. One without a grid below the head (squeeze and excitation, which averages
    over the grid) belongs to that of the layer above it.
    """
    found: dict[str, list[str]] = {}
    stage = HEAD
    for layer in reversed(model.layers):
        shape = layer.output.shape
        if len(shape) == 4 and (shape[1:3] != (1, 1) or stage == HEAD):
            stage = f"{shape[1]} × {shape[2]}"
        if layer.weights:
            found.setdefault(stage, []).append(layer.name)
    return found


def renewed(model, seed: int = 0):
    """A clone of a flat model with new initial weights, drawn by `seed`; the model is unchanged."""
    import keras

    numbers = count(1000 * (seed + 1))

    def renew(layer):
        return type(layer).from_config(_reseeded(layer.get_config(), numbers))

    return keras.models.clone_model(model, clone_function=renew)


def _reseeded(config: dict, numbers) -> dict:
    """A layer's config in which each seed is the next number: with its own, training would start from the same draw."""
    return {
        key: next(numbers) if key == "seed" else _reseeded(value, numbers) if isinstance(value, dict) else value
        for key, value in config.items()
    }


def cascade(
    model, randomised, images: np.ndarray, classes_index: Sequence[int] | int, *, methods: Sequence[str] = METHODS
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The maps of a class in each image, by the trained model and after each further stage is randomised.

    images uint8 (N, H, W), classes_index as in `heat_maps`. `randomised` is a clone with new weights (`renewed`): it
    takes the model's weights and gets its own back stage by stage, so it ends as it was; the model is only read.
    Returns (names of the steps: trained, then the stages from the logits down; {method: float32 (steps, N, H, W)}).
    """
    new = {layer.name: layer.get_weights() for layer in randomised.layers if layer.weights}
    randomised.set_weights(model.get_weights())
    maps = [heat_maps(randomised, images, classes_index, methods)]
    for names in (groups := stages(model)).values():
        for name in names:
            randomised.get_layer(name).set_weights(new[name])
        maps.append(heat_maps(randomised, images, classes_index, methods))
    return [TRAINED, *groups], {method: np.stack([step[method] for step in maps]) for method in methods}


def structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """SSIM of maps with values in [0, 1], (N, H, W) each: float (N,), 1 where they are equal.

    With the paper's Gaussian window of 11 x 11 and constants; windows that reach over the edge are left out.
    """
    from scipy.ndimage import gaussian_filter

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        blurred = gaussian_filter(values, (0, SIGMA, SIGMA), radius=(0, WINDOW, WINDOW))
        return blurred[:, WINDOW:-WINDOW, WINDOW:-WINDOW]

    one, other = mean(first), mean(second)
    products = mean(first * second) - one * other
    squares = mean(first**2) - one**2 + mean(second**2) - other**2
    alike = (2 * one * other + 0.01**2) / (one**2 + other**2 + 0.01**2)
    return (alike * (2 * products + 0.03**2) / (squares + 0.03**2)).mean(axis=(1, 2))


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of the pixels of each pair of maps (N, H, W): float (N,); NaN if one is flat."""
    return rank_correlations(*(maps.reshape(len(maps), -1) for maps in (first, second)))


def some_scans(prepared: Prepared, most: int = MOST_SCANS, seed: int = 0) -> pd.DataFrame:
    """A few scans of the test split, the classes in turn: scan, patient, class, place (in the split's images)."""
    records, labels = prepared.split("test"), prepared.labels("test") == 1
    order = np.random.default_rng(seed).permutation(len(records))
    of_class = {
        name: [int(place) for place in order if labels[place, column]] for column, name in enumerate(prepared.classes)
    }
    chosen: dict[int, str] = {}
    while len(chosen) < min(most, len(records)) and any(of_class.values()):
        for name, places in of_class.items():
            while places and places[0] in chosen:
                places.pop(0)
            if places and len(chosen) < most:
                chosen[places.pop(0)] = name
    rows = records.loc[list(chosen), ["scan", "patient"]].reset_index(names="place")
    return rows.assign(**{"class": list(chosen.values())})


def similarities(
    steps: Sequence[str], maps: dict[str, np.ndarray], scans: pd.DataFrame, dataset: str, run: str
) -> pd.DataFrame:
    """Similarity of the maps of each step to the trained model's, one row per method, step and scan, with SIMILARITIES.

    `steps` and `maps` come from `cascade`, `scans` from `some_scans`. other_* compare the trained model's map with its
    map of the next scan in the list; empty marks a map of zeros.
    """
    parts = []
    for method, found in maps.items():
        others = np.roll(found[0], -1, axis=0) if len(scans) > 1 else np.full_like(found[0], np.nan)
        for step, (stage, now) in enumerate(zip(steps, found, strict=True)):
            parts.append(
                scans[["scan", "patient", "class"]].assign(
                    dataset=dataset,
                    run=run,
                    method=method,
                    step=step,
                    stage=stage,
                    ssim=structural_similarity(found[0], now),
                    rank_correlation=rank_correlation(found[0], now),
                    other_ssim=structural_similarity(found[0], others),
                    other_rank_correlation=rank_correlation(found[0], others),
                    empty=(now.max(axis=(1, 2)) <= 0).astype(float),
                )
            )
    return pd.concat(parts, ignore_index=True)[SIMILARITIES]


def summary(alike: pd.DataFrame) -> pd.DataFrame:
    """The means over the scans of each step, one row per dataset, method and step, with SUMMARY.

    SSIM has a 95 % interval by bootstrap over patients; if all scans have the same value, it is the exact binomial
    limit of as many trials as patients, which no value in [-1, 1] exceeds. The trained model's row compares a map with
    itself and has no interval.
    """
    rows = []
    for keys, own in alike.groupby(KEYS, sort=False):
        about = dict(zip(KEYS, keys, strict=True))
        low, high = _ssim_interval(own) if about["stage"] != TRAINED else (np.nan, np.nan)
        means = own[["ssim", "rank_correlation", *OTHERS, "empty"]].mean().to_dict()
        rows.append(about | {"scans": len(own)} | means | {"ssim_low": low, "ssim_high": high})
    return pd.DataFrame(rows, columns=SUMMARY)


def _ssim_interval(own: pd.DataFrame) -> tuple[float, float]:
    """The interval for rows with the columns ssim and patient. Widened as for a share, with the range -1 to 1."""
    patients, shares = own["patient"].nunique(), (own["ssim"].to_numpy() + 1) / 2
    low, high = intervals.interval(intervals.drawn_mean(shares, own["patient"]), patients)
    if high - low < share_intervals.NO_VARIANCE:
        low, high = share_intervals.widened(low, low, float(shares.mean()), patients)
    return 2 * low - 1, 2 * high - 1


def randomise_study(
    models: Mapping[str, object],
    runs: Mapping[str, Run],
    data: Mapping[str, Prepared],
    randomised: Mapping[str, object],
    *,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, dict]]:
    """(rows of `similarities`, rows of `summary`, {dataset: example}) of the runs in `randomised`, one per dataset.

    models, runs and randomised (clones with new weights) by the run's name, data by the dataset's. An example is
    {scan uint8 (H, W), maps float32 (steps, H, W)} of the first scan under Grad-CAM.
    """
    parts, shown = [], {}
    for name, clone in randomised.items():
        run, prepared = runs[name], data[runs[name].dataset]
        scans = some_scans(prepared, seed=seed)
        images = np.asarray(prepared.images["test"][scans["place"].to_numpy()])
        classes = [prepared.classes.index(one) for one in scans["class"]]
        steps, maps = cascade(models[name], clone, images, classes)
        parts.append(similarities(steps, maps, scans, run.dataset, name))
        shown[run.dataset] = {"scan": images[0], "maps": maps["grad_cam"][:, 0]}
    alike = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SIMILARITIES)
    return alike, summary(alike), shown

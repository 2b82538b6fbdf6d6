"""Which learning rates a model can be trained with: the range test, one short training at rates that grow."""

import keras
import numpy as np
import pandas as pd

from lungkeras.study.params import Params
from lungkeras.system.backends import use_backend
from lungkeras.system.errors import ParamsError
from lungkeras.training.one_run import compiled, initial_model, open_data
from lungkeras.training.pipeline import Batches
from lungkeras.training.pipeline import steps as steps_of_epoch

SMOOTHING = 0.9
DIVERGED = 4  # the test ends when the smoothed loss is this multiple of its minimum
NOISE = 6  # standard deviations: what one test in twenty spans by chance, if a hundred losses only scatter
IGNORED_START = 0.1  # share of the steps before the smoothed loss means anything


def range_test(
    params: Params,
    *,
    lowest: float = 1e-5,
    highest: float = 1.0,
    steps: int = 100,
    model: keras.Model | None = None,
) -> pd.DataFrame:
    """The loss of each training batch while the learning rate grows by the same factor from step to step.

    It uses the run's own batches, augmentation, loss and optimizer, on one device. `model`, by default the run's
    `initial_model`, can't be used afterwards. No file is written. After Smith 2017
    (doi:10.1109/WACV.2017.58), with the exponential growth and the smoothing of fastai.

    Returns one row per step: step (from 1), learning_rate, loss (nats, of the batch), smoothed (a mean of the losses so
    far that halves its weights about every seven steps). It ends early if the loss becomes NaN or infinite, or its mean
    reaches four times its minimum. Raises ParamsError unless 0 < lowest < highest and 2 <= steps, and RunError if the
    prepared dataset is missing.
    """
    if not 0 < lowest < highest < float("inf"):
        raise ParamsError(f"lowest, highest: expected 0 < lowest < highest, received {lowest} and {highest}")
    if steps < 2:
        raise ParamsError(f"steps: expected 2 or more, received {steps}")
    params = params.model_copy(update={"devices": 1})
    use_backend(params.backend)
    prepared = open_data(params)
    images = prepared.images["train"]
    trainer = compiled(model or initial_model(params, prepared), params, prepared)
    growth = highest / lowest
    trainer.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(lowest, steps - 1, growth)
    epochs = -(-steps // steps_of_epoch(images, params.batch_size))
    batches = Batches(images, prepared.labels("train"), params.batch_size, params.seed, epochs, augmented=True)
    rows, mean, least = [], 0.0, np.inf
    for step in range(steps):
        trainer.reset_metrics()  # else the loss is the mean over all batches so far
        loss = float(trainer.train_on_batch(*batches[step], return_dict=True)["loss"])
        if not np.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING ** (step + 1))
        rows.append((step + 1, lowest * growth ** (step / (steps - 1)), loss, smoothed))
        if step >= IGNORED_START * steps:
            least = min(least, smoothed)
            if smoothed > DIVERGED * least:
                break
    return pd.DataFrame(rows, columns=["step", "learning_rate", "loss", "smoothed"])


def steepest(tested: pd.DataFrame) -> float:
    """The learning rate at which the smoothed loss of a range test falls fastest; NaN where it does not fall.

    The slope is over the logarithm of the rate, between the first tenth of the steps and the minimum. The loss falls if
    it drops by more than NOISE standard deviations of a smoothed loss, estimated from the scatter of single batches.
    """
    curve = tested.iloc[int(IGNORED_START * len(tested)) :]
    curve = curve.iloc[: int(curve["smoothed"].argmin()) + 1] if len(curve) else curve
    if len(curve) < 3:
        return float("nan")
    smoothed = curve["smoothed"].to_numpy()
    scatter = (curve["loss"].to_numpy() - smoothed).std() * ((1 - SMOOTHING) / (1 + SMOOTHING)) ** 0.5
    if smoothed.max() - smoothed[-1] <= NOISE * scatter:
        return float("nan")
    slopes = np.gradient(smoothed, np.log(curve["learning_rate"].to_numpy()))
    return float(curve["learning_rate"].iloc[slopes.argmin()])

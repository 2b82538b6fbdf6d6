"""How a model arranges scans: its last features, and t-SNE of them."""

import numpy as np


def features(model, images: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The penultimate features, float32 (N, F), of uint8 images (N, H, W): what the logits are computed from."""
    import keras

    from lungkeras.models.build import penultimate
    from lungkeras.training.outputs import outputs

    return outputs(keras.Model(model.input, penultimate(model).output), images, batch_size=batch_size)


def embed(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """t-SNE of features (N, F): float32 (N, 2), by scikit-learn, starting from the first two principal components.

    The perplexity is 30, or at most a third of the neighbours, (N - 1) / 3. Features that are NaN or infinite (after
    divergence) count as 0; if all features are equal, or there are fewer than four scans, all points are at the origin.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    features = np.nan_to_num(np.asarray(features, np.float32), posinf=0.0, neginf=0.0)
    if len(features) < 4 or np.ptp(features, axis=0).max() == 0:
        return np.zeros((len(features), 2), np.float32)
    perplexity = min(30.0, (len(features) - 1) / 3)
    start = "pca" if features.shape[1] > 1 else "random"
    # One thread: on shared cores, threads that wait for each other take longer, and sums in one order repeat exactly.
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(features)

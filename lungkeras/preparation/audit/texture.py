"""A simple description of a scan, for a linear model: which textures are where, and how its halves differ.

Small patches of the equalised thumbnails are whitened and clustered into 128 kinds by k-means, without labels
(Coates, Ng, Lee 2011, "An analysis of single-layer networks in unsupervised feature learning"). Each cell of
a 6 x 6 grid is described by how near its patches are to each kind. Most findings are in one lung, so the larger of a
cell and its mirror image, and their difference, are added.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lungkeras.preparation.audit.shortcuts import coarse

KINDS, PATCH, STRIDE, GRID = 128, 8, 2, 6
SAMPLE = 20_000  # patches from which the kinds are learned
FITTED = 2_000  # scans from which the principal components are learned
COMPONENTS = 300
CHUNK = 500  # scans described at a time
COARSE_WEIGHT = 3


def describe(thumbnails: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Float32 (N, up to 300) of uint8 thumbnails (N, 64, 64): principal components, scaled together.

    Memory does not grow with N beyond the result.
    """
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(seed)
    textures = Textures(thumbnails, rng, seed)
    chosen = np.sort(rng.permutation(len(thumbnails))[:FITTED])
    held = textures(thumbnails[chosen])
    mean, spread = held.mean(axis=0), held.std(axis=0) + 1e-3
    weights = np.ones(held.shape[1], np.float32)
    weights[-80:] = COARSE_WEIGHT
    components = min(COMPONENTS, len(held) - 1, held.shape[1])
    turn = PCA(components, svd_solver="full" if len(held) < 1000 else "randomized", random_state=seed)
    turn.fit((held - mean) / spread * weights)
    scale = max(float(np.sqrt(turn.explained_variance_[0])), 1e-9)
    parts = [
        turn.transform((textures(thumbnails[start : start + CHUNK]) - mean) / spread * weights) / scale
        for start in range(0, len(thumbnails), CHUNK)
    ]
    return np.concatenate(parts).astype(np.float32)


class Textures:
    """The kinds of patches of a collection; called with thumbnails, their description: float32 (N, features)."""

    def __init__(self, thumbnails: np.ndarray, rng: np.random.Generator, seed: int) -> None:
        from sklearn.cluster import MiniBatchKMeans

        rows = rng.integers(0, len(thumbnails), SAMPLE)
        corners = rng.integers(0, thumbnails.shape[1] - PATCH + 1, (SAMPLE, 2))
        sample = np.zeros((SAMPLE, PATCH**2), np.float32)
        for row in np.unique(rows):
            own = rows == row
            windows = sliding_window_view(_equalised(thumbnails[row]), (PATCH, PATCH))
            sample[own] = windows[corners[own, 0], corners[own, 1]].reshape(-1, PATCH**2)
        sample = _normalised(sample)
        self.mean = sample.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov(sample.T))
        self.whiten = ((vectors / np.sqrt(values + 0.1)) @ vectors.T).astype(np.float32)
        kinds = MiniBatchKMeans(KINDS, random_state=seed, n_init=1, max_iter=20, batch_size=2048)
        self.kinds = kinds.fit((sample - self.mean) @ self.whiten).cluster_centers_.astype(np.float32)

    def __call__(self, thumbnails: np.ndarray) -> np.ndarray:
        return np.stack([self.one(thumbnail) for thumbnail in thumbnails])

    def one(self, thumbnail: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(_equalised(thumbnail), (PATCH, PATCH))[::STRIDE, ::STRIDE]
        side = len(windows)
        patches = (_normalised(windows.reshape(side * side, -1)) - self.mean) @ self.whiten
        squares = (patches**2).sum(axis=1, keepdims=True) + (self.kinds**2).sum(axis=1) - 2 * patches @ self.kinds.T
        distances = np.sqrt(np.maximum(squares, 0))
        nearness = np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0).reshape(side, side, -1)
        starts = np.linspace(0, side, GRID + 1).round().astype(int)[:-1]
        cells = np.add.reduceat(np.add.reduceat(nearness, starts, axis=0), starts, axis=1)
        mirrored, half = cells[:, ::-1], GRID // 2
        pairs = [np.maximum(cells, mirrored)[:, :half], np.abs(cells - mirrored)[:, :half]]
        return np.concatenate([cells.ravel(), *(pair.ravel() for pair in pairs), coarse(thumbnail)]).astype(np.float32)


def _equalised(thumbnail: np.ndarray) -> np.ndarray:
    return cv2.equalizeHist(thumbnail).astype(np.float32)


def _normalised(patches: np.ndarray) -> np.ndarray:
    return (patches - patches.mean(axis=1, keepdims=True)) / np.sqrt(patches.var(axis=1, keepdims=True) + 10)

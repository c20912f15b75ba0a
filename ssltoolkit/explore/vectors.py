"""Projection of embeddings to unit vectors; exact nearest neighbours, near-duplicates, outliers, clusters, medoids."""

from __future__ import annotations

from typing import List, NamedTuple, Tuple

import numpy as np

_BLOCK = 2048
#: fewest embeddings from which mean, scale and principal axes are estimated
_FEW = 10
#: larger sets are searched with faiss, if installed
_MANY = 1_000_000


class Space(NamedTuple):
    """Projection of embeddings to unit vectors of K values: centre (D,), scale (D,) and basis (D, K)."""

    mean: np.ndarray
    scale: np.ndarray
    basis: np.ndarray

    def vectors(self, embeddings: np.ndarray) -> np.ndarray:
        """Project (N, D) to (N, K) float32 of length 1."""
        out = np.empty((len(embeddings), self.basis.shape[1]), np.float32)
        for start in range(0, len(embeddings), 8192):
            part = (embeddings[start : start + 8192].astype(np.float32) - self.mean) / self.scale @ self.basis
            out[start : start + 8192] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
        return out


def fit_space(embeddings: np.ndarray, size: int, seed: int = 0, rows: int = 20000) -> Space:
    """Fit standardisation and ``size`` principal components to at most ``rows`` of the embeddings (N, D); very few
    embeddings get random axes.
    """
    rng = np.random.default_rng(seed)
    chosen = (
        embeddings if len(embeddings) <= rows else embeddings[np.sort(rng.choice(len(embeddings), rows, replace=False))]
    )
    chosen = chosen.astype(np.float32)
    mean, scale = chosen.mean(axis=0), chosen.std(axis=0)
    scale = np.where(scale > 1e-6 * max(float(scale.max()), 1e-12), scale, 1.0)
    if len(chosen) < _FEW:
        # Principal axes of a few embeddings would maximise their distances (two become opposite) and discard all other
        # directions; random axes approximately preserve cosines.
        size = min(size, chosen.shape[1])
        basis = np.linalg.qr(rng.standard_normal((chosen.shape[1], size)))[0]
        return Space(np.zeros_like(mean), np.ones_like(scale), basis.astype(np.float32))
    size = min(size, *chosen.shape)
    from sklearn.utils.extmath import randomized_svd

    standardised = (chosen - mean) / scale
    _, _, components = randomized_svd(standardised, size, n_iter=3, random_state=seed)
    return Space(mean, scale.astype(np.float32), np.ascontiguousarray(components.T, dtype=np.float32))


def top(vectors: np.ndarray, queries: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours by cosine.

    Args:
        vectors: (N, K) of length 1.
        queries: (Q, K) of length 1.
        count: number of neighbours per query.

    Returns:
        indices and cosines, (Q, count) each, nearest first.

    Example:
        >>> top(np.eye(3, dtype=np.float32), np.array([[0.0, 1.0, 0.0]], np.float32), 1)[0]
        array([[1]])
    """
    count = min(count, len(vectors))
    if len(vectors) > _MANY:
        try:
            import faiss
        except ImportError:
            pass
        else:
            index = faiss.IndexFlatIP(vectors.shape[1])
            index.add(np.ascontiguousarray(vectors, np.float32))
            cosines, places = index.search(np.ascontiguousarray(queries, np.float32), count)
            return places, cosines
    places, cosines = [], []
    step = max(1, min(_BLOCK, 2**27 // max(1, len(vectors))))
    for start in range(0, len(queries), step):
        scores = queries[start : start + step] @ vectors.T
        best = np.argpartition(-scores, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        places.append(best)
        cosines.append(np.take_along_axis(scores, best, 1))
    return np.concatenate(places), np.concatenate(cosines)


def neighbours(vectors: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Like :func:`top`, for every vector among the others."""
    if len(vectors) == 1:
        return np.zeros((1, 0), int), np.zeros((1, 0), np.float32)
    places, cosines = top(vectors, vectors, count + 1)
    # A vector is its own nearest neighbour, unless another one is identical.
    own = places == np.arange(len(vectors))[:, None]
    own[:, -1] |= ~own.any(axis=1)
    shape = (len(vectors), places.shape[1] - 1)
    return places[~own].reshape(shape), cosines[~own].reshape(shape)


def duplicates(places: np.ndarray, cosines: np.ndarray, least: float) -> List[Tuple[int, int, float]]:
    """Pairs with a cosine of at least ``least``, closest first."""
    rows, columns = np.nonzero(cosines >= least)
    pairs = {
        (min(a, b), max(a, b)): float(cosines[a, column])
        for a, b, column in zip(rows.tolist(), places[rows, columns].tolist(), columns.tolist())
    }
    return [(a, b, cosine) for (a, b), cosine in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))]


def outliers(cosines: np.ndarray, most: int) -> np.ndarray:
    """Sounds farthest from their neighbours, farthest first."""
    return np.argsort(cosines.mean(axis=1), kind="stable")[:most] if cosines.shape[1] else np.zeros(0, int)


def clusters(points: np.ndarray) -> np.ndarray:
    """HDBSCAN clusters of the map (N, 2); -1 for sounds in no cluster."""
    if len(points) < 20:
        return np.full(len(points), -1)
    from sklearn.cluster import HDBSCAN

    return HDBSCAN(min_cluster_size=max(5, len(points) // 250), min_samples=5, copy=True).fit_predict(points)


def medoids(vectors: np.ndarray, labels: np.ndarray) -> List[int]:
    """For each cluster 0, 1, ..., the member nearest to its mean."""
    found = []
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        found.append(int(members[(vectors[members] @ vectors[members].mean(axis=0)).argmax()]))
    return found


def layout(vectors: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Map (N, 2) float32 by ``umap``, ``tsne`` or ``pca``; very few sounds always use PCA."""
    if kind == "pca" or len(vectors) < _FEW:
        centred = vectors - vectors.mean(axis=0)
        if len(vectors) == 1:
            return np.zeros((1, 2), np.float32)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        points = centred @ axes[:2].T
        return np.pad(points, ((0, 0), (0, 2 - points.shape[1]))).astype(np.float32)
    if kind == "tsne":
        from sklearn.manifold import TSNE

        return (
            TSNE(perplexity=min(30, (len(vectors) - 1) / 3), metric="cosine", init="random", random_state=seed)
            .fit_transform(vectors)
            .astype(np.float32)
        )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from umap import UMAP

        mapped = UMAP(
            n_neighbors=min(15, len(vectors) - 1),
            min_dist=0.15,
            metric="cosine",
            init="pca",
            random_state=seed,
            n_jobs=1,
        )
        return mapped.fit_transform(vectors).astype(np.float32)

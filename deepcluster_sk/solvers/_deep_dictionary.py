"""Products of dictionaries, and codes that are near a centre."""

import numpy as np

from deepcluster_sk.solvers._arrays import indices, like, namespace, on_host, zeros
from deepcluster_sk.solvers._codes import nonnegative_code
from deepcluster_sk.solvers._dictionary import dictionary_update


def dictionary_product(dictionaries):
    """``D_L ... D_1``."""
    D = dictionaries[0]
    for upper in dictionaries[1:]:
        D = upper @ D
    return D


def update_dictionaries(X, Z, dictionaries):
    """One round over the atoms of all dictionaries, in place."""
    for layer in range(len(dictionaries)):
        codes = Z
        for upper in reversed(dictionaries[layer + 1 :]):
            codes = codes @ like(upper, codes)
        if layer == 0:
            dictionaries[0] = dictionary_update(X, codes, dictionaries[0])
        else:
            right = dictionary_product(dictionaries[:layer])
            dictionaries[layer] = _nonnegative_atoms(
                X, codes, dictionaries[layer], right
            )


def _nonnegative_atoms(X, Z, D, right):
    """Lower ``||X - Z D right||²`` over non-negative atoms of unit norm.

    As ``solvers.dictionary_update`` with ``right``: the majoriser of an atom is
    linear on the sphere, and ``<pull, d>`` is largest, for d >= 0, at the positive
    part of pull, or at its largest entry where none is positive.
    """
    D = D.copy()
    metric = right @ right.T
    lipschitz = np.linalg.eigvalsh(metric)[-1]
    gram, target = on_host(Z.T @ Z), on_host(Z.T @ X) @ right.T
    for j in np.flatnonzero(on_host((Z != 0).any(axis=0))):
        pull = target[j] - gram[j] @ D @ metric + gram[j, j] * lipschitz * D[j]
        d = np.maximum(pull, 0)
        norm = np.linalg.norm(d)
        if norm > 0:
            D[j] = d / norm
        elif pull.any():
            D[j] = np.eye(len(pull))[pull.argmax()]
    return D


def code_near_centers(X, D, centers, weight):
    """The cluster of each row, its value, and its code: the best pair there is.

    A code z >= 0 and a centre c are worth ``||x - z D||² + weight ||z - c||²``. Over
    codes of any sign that has a closed form, a distance in the space of the data. It
    bounds the value from below, so that most clusters are ruled out by it alone.
    """
    xp, all_rows = namespace(X), indices(len(X), X)
    lower = _distances_to_centers(X, D, centers, weight)
    nearest = lower.argsort(1)
    best, labels = zeros(len(X), X) + np.inf, xp.zeros_like(all_rows)
    codes, atoms = zeros((len(X), len(D)), X), like(D, X)
    for j in nearest.T:
        (todo,) = xp.where(lower[all_rows, j] < best)
        if len(todo) == 0:
            break
        target = centers[j[todo]]
        Z = nonnegative_code(X[todo], D, target=target, weight=weight)
        value = ((X[todo] - Z @ atoms) ** 2).sum(1)
        value += weight * ((Z - target) ** 2).sum(1)
        (better,) = xp.where(value < best[todo])
        rows = todo[better]
        best[rows], labels[rows], codes[rows] = value[better], j[rows], Z[better]
    return labels, best, codes


def _distances_to_centers(X, D, centers, weight):
    """``min_z ||x - z D||² + weight ||z - c||²`` over z of any sign, (n, k).

    That is ``r (I + DᵀD / weight)⁻¹ rᵀ`` with ``r = x - c D``.
    """
    _, s, Vt = np.linalg.svd(D, full_matrices=False)
    total = weight + s**2
    gain = np.sqrt(np.divide(weight, total, out=np.ones_like(s), where=total > 0))
    D, Vt, gain = like(D, X), like(Vt, X), like(gain, X)
    inside = X @ Vt.T
    outside = ((X - inside @ Vt) ** 2).sum(1)
    rows, means = inside * gain, centers @ D @ Vt.T * gain
    columns = [outside + ((rows - mean) ** 2).sum(1) for mean in means]
    return namespace(X).stack(columns, axis=1)

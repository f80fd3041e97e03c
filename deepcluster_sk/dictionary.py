"""Deep dictionary learning with a clustering term: X = Z D3 D2 D1."""

import numbers
from itertools import pairwise
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk._base import ReconstructionMixin
from deepcluster_sk._local_pca import reseed_empty
from deepcluster_sk._quiet import quiet
from deepcluster_sk._size import check_expression
from deepcluster_sk._solved import BaseSolvedClusterer
from deepcluster_sk._subspaces import (
    affinity,
    cut,
    expression_penalty,
    fit_subspaces,
    relative_weight,
    self_expression_of,
    subspace_residuals,
    unit_rows,
)
from deepcluster_sk.solvers import (
    dictionary_update,
    kmeans_code,
    nonnegative_code,
    sylvester_code,
)


class DeepDictionaryClustering(ReconstructionMixin, BaseSolvedClusterer):
    """Deep dictionary learning with a clustering term on the codes.

    Synthesises each row from a chain of dictionaries, ``x = z D_L ... D_2 D_1``,
    and clusters the codes at the same time: minimises

    ``||X - Z D_L ... D_1||² + clustering_weight * clustering(Z)``

    over dictionaries of unit-norm atoms and codes, the codes of every layer being
    non-negative [1]_. The clustering term is the k-means objective of the codes, or
    their sparse self-expression ``||Z - C Z||² + λ ||C||_1`` [2]_.

    For some 10,000 samples and a ``latent_dim`` up to 100: a sweep solves a
    few non-negative least-squares problems for each sample.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, at least 1 and at most the number of samples.
    latent_dim : int, default=20
        Width of the code: number of atoms of the last dictionary. Fewer than there
        are clusters cannot tell all centres apart.
    hidden_layer_sizes : array-like of int or None, default=None
        Numbers of atoms of the dictionaries between the data and the last one, from
        the data on. None means ``(4 * latent_dim, 2 * latent_dim)``, that is, three
        dictionaries; an empty tuple gives a single one.
    clustering : {"kmeans", "subspace"}, default="kmeans"
        The clustering term.
    clustering_weight : float or None, default=None
        Weight of the clustering term, in [0, inf); None means 1 for "kmeans" and 0.1
        for "subspace". As it grows, "kmeans" becomes k-means of the data; as it
        falls, directions in which clusters are wide count less; at 0 nothing tells
        clusters apart.
    penalty : float, default=0.1
        For "subspace", λ relative to the codes, in (0, inf): λ is ``penalty`` times
        the smallest value for which half of the rows of C vanish, at the start.
    keep : float, default=0.9
        For "subspace", only the largest entries of each row of C enter the graph
        that is cut, as many as hold this share of its absolute sum, in (0, 1].
    max_epochs : int, default=50
        Largest number of sweeps over all blocks.
    n_init : int, default=1
        Number of runs from different seeds; the one of lowest objective is kept.
    tol : float, default=1e-4
        Sweeps stop when the loss falls by less than this relative amount. 0 never
        stops early.
    verbose : int, default=0
        Above 0, show a progress bar.
    random_state : int, RandomState instance or None, default=None
        Determines the atoms and the clusters to start from. Pass an int for the
        same result at every call.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,), int32
        Cluster of each training sample; the same as ``predict`` of them.
    cluster_centers_ : ndarray of shape (n_clusters, latent_dim), float32
        Mean code of each cluster.
    dictionaries_ : list of ndarrays
        D_1 of shape (h_1, n_features), D_2 of shape (h_2, h_1) and so on, one
        unit-norm atom a row. All but the first are non-negative.
    components_ : ndarray of shape (n_clusters, dimension, latent_dim), float32
        For "subspace", orthonormal rows that span each cluster's codes.
    history_ : list of dict
        One row a sweep: "phase", "epoch", "loss" and each loss term:
        "reconstruction", "kmeans" or "self_expression" and "expression_penalty",
        per sample.
    n_iter_ : int
        Number of sweeps run.
    n_epochs_ : dict of str to int
        Number of epochs, or sweeps, of each phase; their sum is ``n_iter_``.
    stop_reason_ : dict of str to str
        Why each phase ended: "max_epochs" (it had all that it was allowed), "tol"
        (what ``tol`` bounds), "unchanged" (no label changed), "solved" (it is a closed
        form) or "callback" (one of ``callbacks`` ended it).
    objective_ : float
        Objective per training sample at the end, coded as new samples are.
    module_ : types.SimpleNamespace
        The arrays that ``predict`` needs.
    n_features_in_ : int
        Number of features seen in ``fit``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, when X has string column names.

    Notes
    -----
    A new sample is coded against the fixed dictionaries, without other samples. For
    "kmeans" its code z >= 0 and its cluster j together minimise
    ``||x - z D||² + clustering_weight ||z - center_j||²``; over the training data
    that can only be lower than the last loss. For "subspace" z >= 0 minimises
    ``||x - z D||²``, and j is the nearest of the subspaces that were fitted to such
    codes of the training data; ``clustering_weight`` times that squared distance
    takes the place of self-expression, which involves all samples. ``labels_``,
    ``score`` and ``objective_`` use the same codes.

    With "kmeans" the start is k-means of X, its mean and the differences of centres
    from it being atoms: where every layer has ``n_clusters + 1`` of them or more, the
    loss is at most that of k-means in the data. For the given clusters and codes of
    any sign, the best codes cost ``r (I + DᵀD / clustering_weight)⁻¹ rᵀ`` for a sample
    at r from its centre: atoms turn to where clusters are wide, and there distances
    count less. Labels and codes are updated together, as one block: codes that have
    been drawn to a centre would hardly ever leave it.

    With "subspace" the start decides: atoms are samples at first, and the code of a
    sample uses samples of its own subspace if there are many of those. Take some
    20 atoms a cluster or more in every layer, and few sweeps.

    Non-negative codes in all layers are had by non-negative dictionaries D_2, D_3,
    ... This suffices; it is also needed where some sample uses one atom alone. The
    slides update D_2 and D_3 by pseudo-inverses, under which neither the
    constraints nor the descent survive. Here each atom is updated by an exact
    minimiser, or one of a majoriser, on the non-negative part of the unit sphere,
    so that no sweep raises the loss. Unit norms fix the scale: without them the
    clustering term would vanish with the codes.

    References
    ----------
    .. [1] A. Majumdar. Deep learning based clustering (slides, 2022).
    .. [2] A. Goel and A. Majumdar. Sparse subspace clustering friendly deep
       dictionary learning for hyperspectral image classification. IEEE GRSL 19
       (2022).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from deepcluster_sk import DeepDictionaryClustering
    >>> X, y = load_iris(return_X_y=True)
    >>> model = DeepDictionaryClustering(3, latent_dim=3, random_state=0).fit(X)
    >>> model.transform(X).shape
    (150, 3)
    >>> bool((model.transform(X) >= 0).all())
    True
    >>> model.reconstruct(X).shape
    (150, 4)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseSolvedClusterer._parameter_constraints,
        "hidden_layer_sizes": ["array-like", None],
        "clustering": [StrOptions({"kmeans", "subspace"})],
        "clustering_weight": [Interval(numbers.Real, 0, None, closed="left"), None],
        "keep": [Interval(numbers.Real, 0, 1, closed="right")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=20,
        hidden_layer_sizes=None,
        clustering="kmeans",
        clustering_weight=None,
        penalty=0.1,
        keep=0.9,
        max_epochs=50,
        n_init=1,
        tol=1e-4,
        verbose=0,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.clustering = clustering
        self.clustering_weight = clustering_weight
        self.penalty = penalty
        self.keep = keep
        self.max_epochs = max_epochs
        self.n_init = n_init
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state

    def _widths(self):
        hidden = self.hidden_layer_sizes
        if hidden is None:
            hidden = (4 * self.latent_dim, 2 * self.latent_dim)
        return [*hidden, self.latent_dim]

    def _weight(self):
        if self.clustering_weight is None:
            return 1.0 if self.clustering == "kmeans" else 0.1
        return self.clustering_weight

    def _validate_settings(self, n_features):
        if not all(isinstance(w, numbers.Integral) and w >= 1 for w in self._widths()):
            raise ValueError(
                f"The 'hidden_layer_sizes' parameter of {type(self).__name__} must "
                "hold integers in the range [1, inf). "
                f"Got {self.hidden_layer_sizes!r} instead."
            )

    def _check_size(self, n_samples, n_features):
        if self.clustering == "subspace":
            check_expression(self, n_samples, self.latent_dim, self.max_epochs + 1)

    def _rows(self, X):
        rows = super()._rows(X)
        # Squares of what is left neither vanish nor overflow.
        size = np.abs(rows.X).max()
        rows.scale = 1 / size if size > 0 else 1.0
        return rows

    def _optimize(self, run):
        module = run.module
        module.scale = run.rows.scale
        X = run.rows.X * module.scale
        new_term = _KMeansTerm if self.clustering == "kmeans" else _SubspaceTerm
        term, dictionaries, Z = new_term.start(self, X, run.random_state)

        def sweep():
            nonlocal Z
            _update_dictionaries(X, Z, dictionaries)
            D = _product(dictionaries)
            Z = term.code(X, Z, D)
            terms = {"reconstruction": np.square(X - Z @ D).sum(), **term.terms(Z)}
            return {k: v / len(X) / module.scale**2 for k, v in terms.items()}

        run.sweep("sweep", sweep, self.max_epochs, self.tol)
        module.dictionaries = dictionaries
        module.D = _product(dictionaries)
        term.finish(X, module)

    def _keep(self, run):
        super()._keep(run)
        self.cluster_centers_ = run.module.centers.astype(np.float32)
        self.dictionaries_ = run.module.dictionaries
        if self.clustering == "subspace":
            self.components_ = run.module.bases.astype(np.float32)

    # --- the predict path: code and cluster are found together -------------------

    def _code(self, module, x):
        """Cluster, objective and code of each row."""
        x = x * module.scale
        if self.clustering == "kmeans":
            labels, objective, codes = _code_near_centers(
                x, module.D, module.centers, self._weight()
            )
        else:
            codes = nonnegative_code(x, module.D)
            size = np.square(codes).sum(1)
            residuals = size[:, None] * subspace_residuals(
                unit_rows(codes), module.bases
            )
            labels = residuals.argmin(1)
            objective = np.square(x - codes @ module.D).sum(1)
            objective += self._weight() * residuals.min(1)
        return labels, objective / module.scale**2, codes

    def _assign(self, module, x):
        return self._code(module, x)[0]

    def _row_objective(self, module, x):
        return self._code(module, x)[1]

    def _embed(self, module, x):
        return self._code(module, x)[2]

    def _reconstruct(self, module, x):
        return self._embed(module, x) @ module.D / module.scale

    def _row_score(self, module, x):
        return -np.square(x - self._reconstruct(module, x)).mean(1)

    def transform(self, X):
        """Code the rows of X against the fixed dictionaries.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        embedding : ndarray of shape (n_samples, latent_dim), float32
            The non-negative code of each row, for data divided by the largest
            absolute value of the training data.
        """
        check_is_fitted(self)
        return super().transform(X)


def _product(dictionaries):
    """``D_L ... D_1``."""
    D = dictionaries[0]
    for upper in dictionaries[1:]:
        D = upper @ D
    return D


def _some_rows(X, n, random_state):
    """Indices of n random rows; all of them, several times, where there are fewer."""
    return random_state.permutation(max(len(X), n))[:n] % len(X)


def _code_near_centers(X, D, centers, weight):
    """The cluster of each row, its value, and its code: the best pair there is.

    A code z >= 0 and a centre c are worth ``||x - z D||² + weight ||z - c||²``. Over
    codes of any sign that has a closed form, a distance in the space of the data. It
    bounds the value from below, so that most clusters are ruled out by it alone.
    """
    lower = _distances_to_centers(X, D, centers, weight)
    nearest = lower.argsort(1)
    best, labels = np.full(len(X), np.inf), np.zeros(len(X), dtype=np.int64)
    codes = np.zeros((len(X), len(D)))
    for j in nearest.T:
        todo = np.flatnonzero(lower[np.arange(len(X)), j] < best)
        if len(todo) == 0:
            break
        target = centers[j[todo]]
        Z = nonnegative_code(X[todo], D, target=target, weight=weight)
        value = np.square(X[todo] - Z @ D).sum(1)
        value += weight * np.square(Z - target).sum(1)
        better = value < best[todo]
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
    inside = X @ Vt.T
    outside = np.square(X - inside @ Vt).sum(1)
    rows, means = inside * gain, centers @ D @ Vt.T * gain
    columns = [outside + np.square(rows - mean).sum(1) for mean in means]
    return np.stack(columns, axis=1)


def _update_dictionaries(X, Z, dictionaries):
    """One round over the atoms of all dictionaries, in place."""
    for layer in range(len(dictionaries)):
        codes = Z
        for upper in reversed(dictionaries[layer + 1 :]):
            codes = codes @ upper
        if layer == 0:
            dictionaries[0] = dictionary_update(X, codes, dictionaries[0])
        else:
            right = _product(dictionaries[:layer])
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
    gram, target = Z.T @ Z, Z.T @ X @ right.T
    for j in np.flatnonzero(Z.any(axis=0)):
        pull = target[j] - gram[j] @ D @ metric + gram[j, j] * lipschitz * D[j]
        d = np.maximum(pull, 0)
        norm = np.linalg.norm(d)
        if norm > 0:
            D[j] = d / norm
        elif pull.any():
            D[j] = np.eye(len(pull))[pull.argmax()]
    return D


class _KMeansTerm:
    """``weight * ||Z - means of clusters||²`` and its exact updates."""

    def __init__(self, settings, labels):
        self.k, self.weight = settings.n_clusters, settings._weight()
        self.labels = labels

    @classmethod
    def start(cls, settings, X, random_state):
        """Start where the loss is at most that of k-means of X, if there are atoms.

        The mean and the centres' differences from it are the first atoms of every
        layer: each centre is the sum of two of them.
        """
        k, widths = settings.n_clusters, settings._widths()
        kmeans = KMeans(k, n_init=10, random_state=random_state)
        with quiet(ConvergenceWarning):  # fewer distinct rows than clusters
            labels = kmeans.fit_predict(X)
        means, mean = kmeans.cluster_centers_, X.mean(0)
        other = _some_rows(X, max(widths), random_state)
        rows = np.vstack([mean, means - mean, X[other] - means[labels[other]]])
        rows = rows[: widths[0]]
        zero = ~rows.any(axis=1)
        rows[zero] = random_state.normal(size=(zero.sum(), X.shape[1]))
        dictionaries = [unit_rows(rows)]
        for below, width in pairwise(widths):
            dictionaries.append(np.eye(below)[np.arange(width) % below])
        D = _product(dictionaries)
        term = cls(settings, labels)
        term.centers = nonnegative_code(means, D)
        Z = term._code(X, D)
        return term, dictionaries, Z

    def _update_centers(self, Z):
        counts = np.bincount(self.labels, minlength=self.k)
        members = sparse.csr_array(
            (np.ones(len(Z)), (self.labels, np.arange(len(Z)))), (self.k, len(Z))
        )
        self.centers = members @ Z / np.maximum(counts, 1)[:, None]

    def _code(self, X, D):
        """Codes of the present clusters, and their means."""
        Z = kmeans_code(X, D, self.labels, self.weight)
        if Z.min() < 0:  # else codes and centres are the best at once
            target = self.centers[self.labels]
            Z = nonnegative_code(X, D, target=target, weight=self.weight)
        self._update_centers(Z)
        return Z

    def code(self, X, Z, D):
        """Labels and codes together, centres, and codes and centres again."""
        self.labels, cost, Z = _code_near_centers(X, D, self.centers, self.weight)
        reseed_empty(self.labels, cost, self.k)
        self._update_centers(Z)
        return self._code(X, D)

    def terms(self, Z):
        """Terms of the loss, over all samples."""
        error = np.square(Z - self.centers[self.labels]).sum()
        return {"kmeans": self.weight * error}

    def finish(self, X, module):
        """Keep the centres."""
        module.centers = self.centers


class _SubspaceTerm:
    """``weight * (||Z - C Z||² + λ ||C||_1)`` and its updates."""

    def __init__(self, settings, Z, random_state):
        self.settings, self.random_state = settings, random_state
        self.weight = settings._weight()
        self.penalty = relative_weight(Z, settings.penalty)
        self.C = self._express(Z)

    @classmethod
    def start(cls, settings, X, random_state):
        """Code layer by layer on atoms that are samples, a little disturbed."""
        dictionaries, Z = [], X
        for width in settings._widths():
            atoms = Z[_some_rows(Z, width, random_state)]
            size = np.abs(atoms).max()
            noise = random_state.normal(size=atoms.shape)
            noise *= 0.1 * (size if size > 0 else 1)
            atoms = atoms + (np.abs(noise) if dictionaries else noise)
            dictionaries.append(unit_rows(atoms))
            Z = nonnegative_code(Z, dictionaries[-1])
        return cls(settings, Z, random_state), dictionaries, Z

    def code(self, X, Z, D):
        """Codes, then the self-expression of them."""
        I_C = sparse.eye_array(len(Z), format="csr") - sparse.csr_array(self.C)

        def loss(Z):
            error = self.weight * np.square(I_C @ Z).sum()
            return np.square(X - Z @ D).sum() + error

        best = loss(Z)
        joint = np.maximum(sylvester_code(X, D, self.C, self.weight), 0)
        if loss(joint) < best:
            Z, best = joint, loss(joint)
        # ||M||² <= ||M||_1 ||M||_inf bounds the curvature of ||M Z||².
        size = np.abs(I_C)
        bound = float(size.sum(0).max() * size.sum(1).max())
        for _ in range(3):
            target = Z - I_C.T @ (I_C @ Z) / bound
            new = nonnegative_code(X, D, target=target, weight=self.weight * bound)
            if loss(new) > best:  # by rounding
                break
            Z, best = new, loss(new)
        C = self._express(Z)
        # It is solved to a tolerance, which must not show as a rise of the loss.
        if sum(self._sizes(Z, C)) <= sum(self._sizes(Z, self.C)):
            self.C = C
        return Z

    def _express(self, Z):
        return self_expression_of(Z, self.penalty, "l1", verbose=self.settings.verbose)

    def _sizes(self, Z, C):
        error = np.square(Z - C @ Z).sum()
        size = self.penalty * expression_penalty(C, "l1")
        return self.weight * error, self.weight * size

    def terms(self, Z):
        """Terms of the loss, over all samples."""
        error, size = self._sizes(Z, self.C)
        return {"self_expression": error, "expression_penalty": size}

    def finish(self, X, module):
        """Cut the graph, and fit subspaces to the codes that new samples get."""
        k, random_state = self.settings.n_clusters, self.random_state
        labels = cut(affinity(self.C, self.settings.keep), k, random_state)
        Z = nonnegative_code(X, module.D)
        module.bases = fit_subspaces(unit_rows(Z), labels, k, "auto", random_state)
        labels = subspace_residuals(unit_rows(Z), module.bases).argmin(1)
        module.centers = np.zeros((k, Z.shape[1]))
        for j in np.unique(labels):
            module.centers[j] = Z[labels == j].mean(0)

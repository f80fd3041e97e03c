"""Linear subspaces of clusters: what makes subspace clustering inductive."""

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import laplacian
from sklearn.cluster import KMeans, spectral_clustering

from deepcluster_sk._threads import threads_for
from deepcluster_sk.solvers import self_expression
from deepcluster_sk.solvers._arrays import indices, namespace, on_host, zeros
from deepcluster_sk.solvers._local_pca import leading_directions
from deepcluster_sk.solvers._partitions import order_of_clusters, renumbered
from deepcluster_sk.solvers._sparse_matrix import (
    SparseMatrix,
    entries_of,
    host_matrix,
    is_sparse,
)
from deepcluster_sk.solvers._warnings import ignored_warnings

# A subspace whose dimension is "auto" has at most this one.
MOST_DIMENSIONS = 32
# Graphs of at most so many nodes are cut by a dense eigenvalue solver.
DENSE_NODES = 1000
# Products of rows that are held at once.
BLOCK_BYTES = 2**27
# Largest memory, in bytes, that arrays with an entry for each pair of rows may take.
PAIRS_BYTES = 8e9


def unit_rows(Z):
    """Rows at unit norm; zero rows stay zero."""
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(norms > 0, norms, 1)


def largest_products(Z):
    """``max_{j != i} |z_i . z_j|`` for every row, without an n x n array."""
    n = len(Z)
    block = max(1, min(1000, BLOCK_BYTES // (8 * n)))
    largest = zeros(n, Z)
    for start in range(0, n, block):
        rows = indices(n, Z)[start : start + block]
        products = abs(Z[rows] @ Z.T)
        products[rows - start, rows] = 0
        largest[rows] = namespace(Z).amax(products, axis=1)
    return largest


def relative_weight(Z, alpha):
    """``alpha`` times the smallest weight under which half of the rows vanish.

    Where even that is zero, nothing can express anything, and ``alpha`` serves.
    """
    weight = alpha * 2 * float(np.median(on_host(largest_products(Z))))
    return weight if weight > 0 else alpha


def self_expression_of(Z, weight, penalty, l1_ratio=0.9, verbose=0):
    """Self-expression of rows; a row alone is expressed by nothing.

    Parameters
    ----------
    Z : ndarray or Tensor of shape (n, h)
    weight : float
        The absolute weight.
    penalty, l1_ratio
        As in :func:`deepcluster_sk.solvers.self_expression`.
    verbose : int, default=0
        Above 0, show a progress bar.

    Returns
    -------
    C : csr_array, ndarray, SparseMatrix or Tensor of shape (n, n)
    """
    if len(Z) == 1:
        empty = sparse.csr_array((1, 1))
        return empty if namespace(Z) is np else SparseMatrix.of_scipy(empty, Z)
    with threads_for(len(Z) ** 2 * Z.shape[1]):
        return self_expression(
            Z,
            weight,
            penalty,
            l1_ratio=l1_ratio,
            max_dense_gb=PAIRS_BYTES / 1e9,
            verbose=verbose,
        )


def expression_penalty(C, penalty, l1_ratio=0.9):
    """R(C), as :func:`deepcluster_sk.solvers.self_expression` defines it."""
    values = entries_of(C)
    if penalty == "l1":
        return float(abs(values).sum())
    if penalty == "l2":
        return float((values**2).sum())
    if penalty == "elasticnet":
        ridge = 0.5 * (1 - l1_ratio) * float((values**2).sum())
        return l1_ratio * float(abs(values).sum()) + ridge
    if is_sparse(C):  # of a row alone
        return 0.0
    return float(namespace(C).linalg.svdvals(C).sum())


def affinity(C, mass):
    """Symmetric affinity of a self-expression.

    Parameters
    ----------
    C : csr_array, ndarray, SparseMatrix or Tensor of shape (n, n)
    mass : float
        Only the largest entries of each row count, as many as hold this share of
        the row's absolute sum.

    Returns
    -------
    A : csr_array of shape (n, n)
        ``|C| + |C|^T`` of the entries kept.
    """
    C = sparse.csr_array(host_matrix(C))
    n = C.shape[0]
    size = np.abs(C.data)
    row = np.repeat(np.arange(n), np.diff(C.indptr))
    order = np.lexsort((-size, row))
    # Share of the row's sum that comes before an entry, largest first.
    total = np.bincount(row, size, n)
    before = np.cumsum(size[order]) - size[order]
    before -= (np.cumsum(total) - total)[row]
    used = order[before < mass * total[row] * (1 - 1e-12)]
    A = sparse.csr_array((size[used], (row[used], C.indices[used])), (n, n))
    return sparse.csr_array(A + A.T)


def cut(A, n_clusters, random_state):
    """Cut a graph into clusters by normalised cuts.

    Parameters
    ----------
    A : csr_array of shape (n, n)
    n_clusters : int
    random_state : RandomState

    Returns
    -------
    labels : ndarray of shape (n,)
        The largest cluster is 0, and so on.
    """
    labels = _cut(A, n_clusters, random_state)
    return renumbered(labels, order_of_clusters(labels, n_clusters))


def _cut(A, n_clusters, random_state):
    n = A.shape[0]
    if n_clusters == n:
        return np.arange(n)
    if n_clusters == 1:
        return np.zeros(n, dtype=int)
    if n <= DENSE_NODES:
        with threads_for(n**3):
            maps = _spectral_maps(A, n_clusters)
        with ignored_warnings(
            UserWarning
        ):  # few distinct points: there is no better cut
            kmeans = KMeans(n_clusters, n_init=10, random_state=random_state)
            return kmeans.fit_predict(maps)
    if A.nnz > 0.1 * n**2:
        A = A.toarray()
    else:  # scikit-learn takes 32-bit indices only
        A.indices, A.indptr = A.indices.astype(np.int32), A.indptr.astype(np.int32)
    # Separate components are what subspace clustering hopes for. On graphs that are
    # degenerate (rows all equal) scikit-learn warns that ARPACK gave way to LOBPCG
    # and that k-means found few distinct points; there is no better cut.
    with ignored_warnings(UserWarning, RuntimeWarning):
        return spectral_clustering(
            A,
            n_clusters=n_clusters,
            random_state=random_state,
            eigen_solver="arpack",
        )


def _spectral_maps(A, n_clusters):
    """Smallest eigenvectors of the normalised Laplacian, as spectral clustering.

    By a dense solver: where eigenvalues coincide, as on a graph of a few equal rows,
    ARPACK starts again from random vectors that cannot be seeded.
    """
    L, root_degree = laplacian(A.toarray(), normed=True, return_diag=True)
    np.fill_diagonal(L, 1)  # of isolated nodes too: they are no components to find
    _, vectors = eigh(L, subset_by_index=(0, n_clusters - 1))
    return vectors / root_degree[:, None]


def fit_subspaces(Z, labels, n_clusters, dimension, random_state):
    """Bases of the clusters' linear subspaces, all of one dimension.

    Parameters
    ----------
    Z : ndarray or Tensor of shape (n, h)
    labels : ndarray of shape (n,)
    n_clusters : int
    dimension : int or "auto"
        At most h. "auto" is the smallest dimension under which most rows are
        nearest to the subspace of the cluster they are in. It is less than h, and
        at most half of a typical cluster's size: a subspace of as many dimensions
        as it has members fits whatever they are.
    random_state : RandomState

    Returns
    -------
    bases : ndarray of shape (k, dimension, h)
        Orthonormal rows, leading directions first. Those of an empty cluster, and
        those beyond a cluster's size, are zero.
    """
    Z = on_host(Z)
    h = Z.shape[1]
    sizes = np.bincount(labels, minlength=n_clusters)
    most = dimension
    if dimension == "auto":
        half = int(np.median(sizes[sizes > 0])) // 2
        most = max(1, min(h - 1, half, MOST_DIMENSIONS))
    bases = np.zeros((n_clusters, most, h))
    for j in np.flatnonzero(sizes):
        found = min(most, sizes[j])
        bases[j, :found] = leading_directions(Z[labels == j], found, random_state)
    if dimension == "auto":
        bases = bases[:, : _most_faithful(Z, labels, bases)]
    return bases


def _most_faithful(Z, labels, bases):
    """Number of leading directions under which most rows keep their label."""
    energy = np.zeros((len(Z), len(bases)))
    kept = []
    for d in range(bases.shape[1]):
        energy += np.square(Z @ bases[:, d].T)
        kept.append((energy.argmax(1) == labels).sum())
    return 1 + int(np.argmax(kept))


def subspace_residuals(Z, bases):
    """Squared distance of every row to every subspace, ``(n, k)``."""
    # By the residual itself: the difference of squared norms would cancel.
    columns = [np.square(Z - Z @ U.T @ U).sum(1) for U in bases]
    return np.stack(columns, axis=1)

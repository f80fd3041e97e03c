"""How many clusters the neighbours of rows show."""

import numpy as np
from sklearn.cluster import KMeans

from deepcluster_sk.initialization._neighbors import (
    EMBEDDING_EPOCHS,
    free_embedding,
    neighbor_graphs,
)
from deepcluster_sk.solvers._dip import join_by_dip
from deepcluster_sk.solvers._neighbor_embedding import spectral_coordinates
from deepcluster_sk.solvers._progress import part_bar

# A count may be wrong where an embedding tears a cluster, which chance does: the median
# of so many. Embeddings of more dimensions than clusters have fold them.
N_EMBEDDINGS, WIDTH = 3, 2
# Rows that a piece has on average, at least.
PIECE_ROWS = 5
# Dips between pieces of one cluster are smaller. In one of twenty embeddings of uniform
# and Gaussian clouds (2 to 20 dimensions, 150 to 1000 rows) joining all pieces took a
# larger one. Hartigans' own critical value, 0.52, is for independent values, but an
# embedding gathers rows where neighbours happen to be near.
CRITICAL_DIP = 1.05


def count_clusters(X, n_neighbors, max_clusters, random_state, verbose=0):
    """How many clusters an embedding of the neighbours shows.

    The embedding is cut into pieces by k-means, and pieces are joined between which
    Hartigans' dip shows no gap.

    Parameters
    ----------
    X : Tensor of shape (n, d)
        Rows.
    n_neighbors : int
        Neighbours of each row in the graph.
    max_clusters : int
        Number of pieces; a fifth of the rows if there are fewer.
    random_state : RandomState
        Source of every choice.
    verbose : int, default=0
        Above 0, show a progress bar.

    Returns
    -------
    n_clusters : int
        From 1 to `max_clusters`, the median over three embeddings.
    """
    n = len(X)
    n_pieces = min(max_clusters, n // PIECE_ROWS)
    if n_pieces < 2:
        return 1
    S = neighbor_graphs(X, min(n_neighbors, n - 1))[1]
    start = spectral_coordinates(S, WIDTH, random_state)
    counts, total = [], N_EMBEDDINGS * EMBEDDING_EPOCHS
    bar = part_bar(verbose, "number of clusters", total=total, unit="epoch")
    for _ in range(N_EMBEDDINGS):
        Z = free_embedding(S, start, EMBEDDING_EPOCHS, random_state, bar.update)
        Z = Z.astype(np.float64)
        kmeans = KMeans(n_pieces, n_init=3, random_state=random_state)
        joined = join_by_dip(Z, kmeans.fit_predict(Z), CRITICAL_DIP)
        counts.append(joined.max() + 1)
    bar.close()
    return int(np.median(counts))

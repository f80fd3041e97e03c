"""Losses of the clustering methods, as pure functions on tensors.

Every loss is a quantity to **minimise** and returns a scalar attached to the graph. A
batch with an empty cluster, one sample or one cluster gives a finite value and finite
gradients. What is held constant (targets, centroids, assignments) is for the caller to
detach.
"""

import torch
from torch.nn.functional import one_hot

__all__ = [
    "anchor_similarity_loss",
    "assignment_entropy",
    "assignment_orthogonality",
    "between_cluster_loss",
    "cauchy_schwarz_loss",
    "inverse_size_weights",
    "kl_divergence",
    "kmeans_loss",
    "mean_squared_error",
    "simplex_corner_loss",
    "simplex_projection",
    "softmax_assignment",
    "spherical_kmeans_loss",
    "student_t_assignment",
    "target_distribution",
    "tensorized_cost",
    "within_cluster_loss",
]

# Floor of the kernel sums of the Cauchy-Schwarz divergence, as in its authors' code.
_KERNEL_SUM_FLOOR = 1e-9
# A code shorter than this has no direction.
_MIN_NORM = 1e-8


# --- Deep embedded clustering -------------------------------------------------------


def student_t_assignment(embedding, centers, alpha=1.0):
    r"""Soft assignment by a Student t kernel around each centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    alpha : float, default=1.0
        Degrees of freedom, above 0.

    Returns
    -------
    assignment : torch.Tensor of shape (n, k)
        Rows sum to 1.

    Raises
    ------
    ValueError
        If `alpha` is not positive.

    Notes
    -----
    Eq. 1 of [1]_:
    :math:`q_{ij} \propto (1 + \|z_i - \mu_j\|^2 / \alpha)^{-(\alpha + 1) / 2}`.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import student_t_assignment
    >>> centers = torch.tensor([[0.0], [3.0]])
    >>> student_t_assignment(torch.tensor([[1.0], [1.5]]), centers)
    tensor([[0.7143, 0.2857],
            [0.5000, 0.5000]])
    """
    _check_positive(alpha=alpha)
    distance = _squared_distances(embedding, centers)
    # In logarithms: far from every centroid the kernel itself underflows.
    return torch.softmax(-(alpha + 1) / 2 * torch.log1p(distance / alpha), dim=1)


def target_distribution(assignment):
    r"""Sharpened assignment that the soft one is pulled towards.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment q of the **whole** data set, entries in [0, 1].

    Returns
    -------
    target : torch.Tensor of shape (n, k)
        Rows sum to 1. An empty cluster (a column of zeros) stays empty.

    Notes
    -----
    Eq. 3 of [1]_: :math:`p_{ij} \propto q_{ij}^2 / \sum_i q_{ij}`. The target is a
    constant of the optimisation: compute it without gradients.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import target_distribution
    >>> target_distribution(torch.tensor([[0.8, 0.2], [0.2, 0.8]]))
    tensor([[0.9412, 0.0588],
            [0.0588, 0.9412]])
    """
    tiny = torch.finfo(assignment.dtype).tiny
    # q (q / f) rather than q² / f: the square of a small q underflows.
    weight = assignment * (assignment / assignment.sum(0).clamp_min(tiny))
    return weight / weight.sum(1, keepdim=True).clamp_min(tiny)


def kl_divergence(p, q):
    r"""Kullback-Leibler divergence of assignments, averaged over samples.

    Parameters
    ----------
    p : torch.Tensor of shape (n, k)
        Target distribution, rows summing to 1.
    q : torch.Tensor of shape (n, k)
        Soft assignment, rows summing to 1.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0, and 0 where `p` equals `q`.

    Notes
    -----
    Eq. 2 of [1]_ divided by n, so that its weight does not depend on the batch size:
    :math:`\frac1n \sum_i \sum_j p_{ij} \log(p_{ij} / q_{ij})`, with
    :math:`0 \log 0 = 0` and logarithms taken of nothing below the smallest normal
    number.

    References
    ----------
    .. [1] Xie, Girshick and Farhadi, "Unsupervised deep embedding for clustering
       analysis", ICML 2016.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import kl_divergence
    >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    tensor(0.6931)
    """
    tiny = torch.finfo(q.dtype).tiny
    return (p * (p.clamp_min(tiny).log() - q.clamp_min(tiny).log())).sum(1).mean()


# --- Divergence-based clustering ----------------------------------------------------


def cauchy_schwarz_loss(assignment, kernel):
    r"""Overlap of the clusters' kernel density estimates.

    Minimising it maximises the Cauchy-Schwarz divergence between clusters: they become
    compact and separate in the space of the kernel.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, entries at least 0.
    kernel : torch.Tensor of shape (n, n)
        Symmetric positive semi-definite kernel K.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single cluster. An empty cluster counts as overlapping.

    Notes
    -----
    Eq. 2, 6 of [1]_: with :math:`N = A^T K A`,
    :math:`\frac{2}{k(k-1)} \sum_{i<j} N_{ij} / \sqrt{N_{ii} N_{jj}}`. As in the
    authors' code, :math:`N_{ij}` is at least 1e-9 and the product under the root at
    least 1e-18.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import cauchy_schwarz_loss
    >>> kernel = torch.tensor([[1.0, 0.1], [0.1, 1.0]])
    >>> cauchy_schwarz_loss(torch.eye(2), kernel)
    tensor(0.1000)
    >>> cauchy_schwarz_loss(torch.full((2, 2), 0.5), kernel)
    tensor(1.)
    """
    overlap = assignment.T @ kernel @ assignment  # N, (k, k)
    within = overlap.diagonal()
    product = (within[:, None] * within).clamp_min(_KERNEL_SUM_FLOOR**2)
    cosine = overlap.clamp_min(_KERNEL_SUM_FLOOR) / product.sqrt()
    return cosine.triu(1).sum() / _n_pairs(len(overlap))


def assignment_orthogonality(assignment):
    r"""Mean inner product between the assignments of different samples.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, entries at least 0.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single sample.

    Notes
    -----
    Eq. 7 of [1]_ (DDC's second term), as a mean over the pairs i < j instead of the
    printed sum, as in the authors' code. It needs no (n, n) matrix:
    :math:`\sum_{i<j} a_i^T a_j = (\|\sum_i a_i\|^2 - \sum_i \|a_i\|^2) / 2`.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import assignment_orthogonality
    >>> assignment_orthogonality(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    tensor(0.3333)
    """
    twice = assignment.sum(0).square().sum() - assignment.square().sum()
    return twice / 2 / _n_pairs(len(assignment))


def simplex_corner_loss(assignment, kernel):
    r"""Cauchy-Schwarz overlap of the assignments' closeness to the simplex corners.

    It pushes soft assignments towards hard ones.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment A, rows on the simplex.
    kernel : torch.Tensor of shape (n, n)
        Symmetric positive semi-definite kernel K.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 for a single cluster.

    Notes
    -----
    Eq. 8 of [1]_ (DDC's third term): :func:`cauchy_schwarz_loss` of
    :math:`\eta_{ij} = \exp(-\|a_i - e_j\|^2)`, :math:`e_j` the j-th corner.

    References
    ----------
    .. [1] Trosten et al., "Leveraging tensor kernels to reduce objective function
       mismatch in deep clustering", Pattern Recognition, 2024,
       doi:10.1016/j.patcog.2023.110229.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import simplex_corner_loss
    >>> simplex_corner_loss(torch.eye(2), torch.eye(2))
    tensor(0.2658)
    >>> simplex_corner_loss(torch.full((2, 2), 0.5), torch.eye(2))
    tensor(1.)
    """
    corners = torch.eye(
        assignment.shape[1], dtype=assignment.dtype, device=assignment.device
    )
    closeness = torch.exp(-_squared_distances(assignment, corners))
    return cauchy_schwarz_loss(closeness, kernel)


# --- Slow exemplars (PC-X) ----------------------------------------------------------


def softmax_assignment(embedding, centers, temperature=5.0):
    r"""Soft k-means assignment, a softmax of the negative squared distances.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    temperature : float, default=5.0
        The paper's τ, above 0. It multiplies the distances: larger is harder.

    Returns
    -------
    assignment : torch.Tensor of shape (n, k)
        Rows sum to 1; the largest entry is at the nearest centroid.

    Raises
    ------
    ValueError
        If `temperature` is not positive.

    Notes
    -----
    Eq. 2 of [1]_: :math:`\lambda_{nk} \propto \exp(-\tau \|z_n - \mu_k\|^2)`.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import softmax_assignment
    >>> centers = torch.tensor([[0.0], [1.0]])
    >>> softmax_assignment(torch.tensor([[0.0], [0.5]]), centers)
    tensor([[0.9933, 0.0067],
            [0.5000, 0.5000]])
    """
    _check_positive(temperature=temperature)
    return torch.softmax(-temperature * _squared_distances(embedding, centers), dim=1)


def assignment_entropy(assignment):
    r"""Mean entropy of the samples' soft assignments, in nats.

    Parameters
    ----------
    assignment : torch.Tensor of shape (n, k)
        Soft assignment, rows summing to 1.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, log k]; 0 for hard assignments.

    Notes
    -----
    Eq. 8 of [1]_, :math:`-\frac1N \sum_n \sum_k \lambda_{nk} \log \lambda_{nk}`, with
    :math:`0 \log 0 = 0`. PC-X minimises it over the network only: detach the centroids
    when computing the assignment.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import assignment_entropy
    >>> assignment_entropy(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    tensor(0.3466)
    """
    tiny = torch.finfo(assignment.dtype).tiny
    return -(assignment * assignment.clamp_min(tiny).log()).sum(1).mean()


def kmeans_loss(embedding, centers, labels=None, cluster_weights=None):
    r"""Mean squared distance to the assigned centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples.
    centers : torch.Tensor of shape (k, d)
        Centroids.
    labels : torch.Tensor of shape (n,), default=None
        Integer labels in [0, k). None takes the nearest centroid.
    cluster_weights : torch.Tensor of shape (k,), default=None
        Weight of each cluster's samples, see :func:`inverse_size_weights`. None
        weights all samples alike.

    Returns
    -------
    loss : torch.Tensor, scalar
        At least 0.

    Notes
    -----
    The clustering term of Eq. 1 and 9 of [1]_,
    :math:`\frac1N \sum_n \|z_n - \mu_{c(n)}\|^2`, squared distances summed over the
    embedding. With `cluster_weights` :math:`1 / \omega_k` it is the re-weighted loss of
    Eq. 12.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import kmeans_loss
    >>> embedding = torch.tensor([[0.0], [1.0], [5.0]])
    >>> kmeans_loss(embedding, torch.tensor([[0.0], [4.0]]))
    tensor(0.6667)
    """
    if labels is None:
        labels = _squared_distances(embedding.detach(), centers.detach()).argmin(1)
    distance = (embedding - centers[labels]).square().sum(1)
    if cluster_weights is not None:
        distance = distance * cluster_weights[labels]
    return distance.mean()


def inverse_size_weights(sizes, smoothing=1e-5):
    r"""Weights that give every cluster the same say, whatever its size.

    Parameters
    ----------
    sizes : torch.Tensor of shape (k,)
        Cluster sizes (counts, or running means of them), at least 0.
    smoothing : float, default=1e-5
        Pseudo-count ε added to each cluster, above 0. The paper takes 1e-5 for balanced
        and about 5 for imbalanced data.

    Returns
    -------
    weights : torch.Tensor of shape (k,)
        Ones for clusters of equal size, above 1 for small clusters.

    Raises
    ------
    ValueError
        If `smoothing` is not positive.

    Notes
    -----
    :math:`1 / \omega_k` of Eq. 10 to 12 of [1]_, :math:`\omega_k = \alpha_k /
    \bar\alpha`, after the Laplace smoothing of Eq. 14. Smoothing keeps the total, which
    cancels:
    :math:`\omega_k = K(\alpha_k + \varepsilon) / (\sum_j \alpha_j + \varepsilon K)`.

    References
    ----------
    .. [1] "PC-X: Profound clustering via slow exemplars", CPAL.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import inverse_size_weights
    >>> inverse_size_weights(torch.tensor([30.0, 10.0]))
    tensor([0.6667, 2.0000])
    """
    _check_positive(smoothing=smoothing)
    smoothed = sizes + smoothing
    return smoothed.mean() / smoothed


# --- Discriminative latent space ----------------------------------------------------


def anchor_similarity_loss(embedding, anchors, alpha=0.1):
    r"""Make all pairs dissimilar but the anchor pairs, which become similar.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    anchors : torch.Tensor of shape (n, n), dtype bool
        True at the ordered pairs trusted to be of one cluster. For pairs without order,
        mark both (i, j) and (j, i).
    alpha : float, default=0.1
        Distrust of the anchors, in [0, 1): their term is weighted by 1 - alpha.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [alpha - 1, 2 - alpha].

    Raises
    ------
    ValueError
        If `alpha` is outside [0, 1) or `anchors` is not a boolean (n, n) tensor.

    Notes
    -----
    Eq. 5 of [1]_, with :math:`C` the cosine similarities,

    .. math:: \frac{1}{n^2 - |A|} \sum_{(i,j) \notin A} |C_{ij}|
              - \frac{1 - \alpha}{|A|} \sum_{(i,j) \in A} C_{ij}.

    It is minimised in pretraining (Eq. 6); stage I *maximises* Eq. 8, where it enters
    with a minus: as a loss, stage I is :func:`spherical_kmeans_loss` plus
    :math:`\lambda_d` times this. The diagonal counts among the pairs that are no
    anchors, as printed: a constant. A sum over no pairs is 0.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import anchor_similarity_loss
    >>> anchors = torch.tensor([[False, True], [True, False]])
    >>> anchor_similarity_loss(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), anchors)
    tensor(0.1000)
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"alpha must be in [0, 1); got {alpha!r}.")
    n = len(embedding)
    if anchors.dtype != torch.bool or anchors.shape != (n, n):
        raise ValueError(
            f"anchors must be a boolean tensor of shape {(n, n)}; got "
            f"{anchors.dtype} of shape {tuple(anchors.shape)}."
        )
    cosine = _cosine_similarities(embedding)
    n_anchors = anchors.sum()
    others = cosine.abs().masked_fill(anchors, 0).sum()
    similar = cosine.masked_fill(~anchors, 0).sum()
    return others / (n * n - n_anchors).clamp_min(1) - (
        1 - alpha
    ) * similar / n_anchors.clamp_min(1)


def spherical_kmeans_loss(embedding, centers, labels=None):
    r"""Minus the mean cosine to the assigned centroid.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    centers : torch.Tensor of shape (k, d)
        Centroids; only their directions count (the paper keeps them of unit norm).
    labels : torch.Tensor of shape (n,), default=None
        Integer labels in [0, k). None takes the centroid of largest cosine.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [-1, 1].

    Notes
    -----
    Minus Eq. 7 of [1]_, which is *maximised* (Eq. 8 and 11), divided by the batch size:
    with the printed sum, weights :math:`\lambda_d \in [1, 5]` on the other terms, all
    of them means, would do nothing.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import spherical_kmeans_loss
    >>> embedding = torch.tensor([[2.0, 0.0], [3.0, 4.0]])
    >>> spherical_kmeans_loss(embedding, torch.eye(2))
    tensor(-0.9000)
    """
    directions, centers = _unit_rows(embedding), _unit_rows(centers)
    if labels is None:
        labels = (directions.detach() @ centers.detach().T).argmax(1)
    return -(directions * centers[labels]).sum(1).mean()


def between_cluster_loss(embedding, labels, n_clusters):
    r"""Mean absolute cosine between the two most similar clusters.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    labels : torch.Tensor of shape (n,)
        Integer labels in [0, n_clusters).
    n_clusters : int
        Number of clusters. Those without a sample in the batch are passed over.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [0, 1]; 0 if fewer than two clusters have samples.

    Notes
    -----
    Eq. 9 of [1]_, over pairs of distinct clusters: :math:`\max_{k<l} \frac{1}{|C_k|
    |C_l|} \sum_{i \in C_k, j \in C_l} |\tilde z_i^T \tilde z_j|`. Eq. 11 *maximises*
    minus :math:`\lambda_b` times it: as a loss it enters with a plus.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import between_cluster_loss
    >>> embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-3.0, 4.0]])
    >>> between_cluster_loss(embedding, torch.tensor([0, 1, 2]), 3)
    tensor(0.8000)
    """
    membership = one_hot(labels, n_clusters).to(embedding)  # (n, k)
    sizes = membership.sum(0).clamp_min(1)
    similarity = membership.T @ _cosine_similarities(embedding).abs() @ membership
    return (similarity / (sizes[:, None] * sizes)).triu(1).amax()


def within_cluster_loss(embedding, labels, n_clusters):
    r"""Minus the mean cosine within each cluster, summed over clusters.

    Parameters
    ----------
    embedding : torch.Tensor of shape (n, d)
        Embedded samples; only their directions count.
    labels : torch.Tensor of shape (n,)
        Integer labels in [0, n_clusters).
    n_clusters : int
        Number of clusters. Those without a sample in the batch add nothing.

    Returns
    -------
    loss : torch.Tensor, scalar
        In [-n_clusters, 0].

    Notes
    -----
    Minus Eq. 10 of [1]_, which Eq. 11 *maximises*. The mean cosine over all ordered
    pairs of a cluster is the squared norm of its mean direction, so no (n, n) matrix is
    needed: :math:`\frac{1}{|C|^2} \sum_{i,j \in C} \tilde z_i^T \tilde z_j =
    \|\frac{1}{|C|} \sum_{i \in C} \tilde z_i\|^2`.

    References
    ----------
    .. [1] Tzoreff, Kogan and Choukroun, "Deep discriminative latent space for
       clustering", arXiv preprint, 2018.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import within_cluster_loss
    >>> embedding = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    >>> within_cluster_loss(embedding, torch.tensor([0, 0, 1]), 2)
    tensor(-1.5000)
    """
    membership = one_hot(labels, n_clusters).to(embedding)  # (n, k)
    sizes = membership.sum(0).clamp_min(1)
    mean_direction = membership.T @ _unit_rows(embedding) / sizes[:, None]  # (k, d)
    return -mean_direction.square().sum()


# --- Shared pieces ------------------------------------------------------------------


# --- Reconstruction and the tensorized autoencoder ------------------------------------


def mean_squared_error(reconstruction, x):
    """Squared error averaged over all elements.

    The mean over features, not their sum, keeps the weight of other terms from
    depending on the width of the data.

    Parameters
    ----------
    reconstruction, x : torch.Tensor of shape (n, d)
        What was made and what should have been.

    Returns
    -------
    loss : torch.Tensor of shape ()
        At least 0.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import mean_squared_error
    >>> mean_squared_error(torch.zeros(2, 2), torch.ones(2, 2))
    tensor(1.)
    """
    return (reconstruction - x).square().mean()


def tensorized_cost(embedding, reconstruction, x, penalty):
    """Cost of every sample under every cluster's autoencoder.

    The bracket of Eq. 2 of [1]_:
    ``||x_i - r_ij||² - penalty ||z_ij||²``, with the reconstruction
    ``r_ij = f_j(g_j(x_i - C_j)) + C_j`` and the code ``z_ij = g_j(x_i - C_j)``.

    Parameters
    ----------
    embedding : Tensor of shape (k, n, h)
        Codes.
    reconstruction : Tensor of shape (k, n, d)
        Reconstructions, centres added back.
    x : Tensor of shape (n, d)
        What should have been reconstructed.
    penalty : float
        λ; the paper's experiments use -0.1.

    Returns
    -------
    cost : Tensor of shape (n, k)
        The bracket for each row and cluster.

    References
    ----------
    .. [1] P. Esser et al. Improved representation learning through tensorized
       autoencoders. AISTATS 2023.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import tensorized_cost
    >>> x = torch.tensor([[1.0, 2.0]])
    >>> code = torch.tensor([[[2.0]]])
    >>> tensorized_cost(code, torch.zeros(1, 1, 2), x, penalty=-0.1)
    tensor([[5.4000]])
    """
    error = (x - reconstruction).square().sum(-1)
    return (error - penalty * embedding.square().sum(-1)).T


def simplex_projection(x):
    """Euclidean projection of each row onto the probability simplex.

    Parameters
    ----------
    x : Tensor of shape (n, k)
        Any real numbers.

    Returns
    -------
    projection : Tensor of shape (n, k)
        The nearest rows that are non-negative and sum to 1: ``max(x - t, 0)`` with
        the threshold t of each row found by sorting [1]_.

    References
    ----------
    .. [1] J. Duchi et al. Efficient projections onto the l1-ball for learning in
       high dimensions. ICML 2008.

    Examples
    --------
    >>> import torch
    >>> from deepcluster_sk.losses import simplex_projection
    >>> simplex_projection(torch.tensor([[0.75, 0.75], [3.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    ordered = x.sort(dim=1, descending=True).values  # (n, k)
    position = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=x.dtype)
    threshold = (ordered.cumsum(1) - 1) / position  # (n, k), for each support size
    support = (ordered > threshold).sum(1, keepdim=True)  # (n, 1), at least 1
    return (x - threshold.gather(1, support - 1)).clamp(min=0)


def _squared_distances(x, centers):
    """Squared Euclidean distances, (n, k), by differences: exact where they vanish."""
    return (x[:, None] - centers).square().sum(2)


def _unit_rows(x):
    """Rows scaled to unit norm; a row without direction stays, with a bounded gradient.

    Dividing such a row by a small epsilon would blow its gradient up by 1 / epsilon.
    """
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / norm.masked_fill(norm < _MIN_NORM, 1)


def _cosine_similarities(embedding):
    directions = _unit_rows(embedding)
    return directions @ directions.T


def _n_pairs(n):
    """Pairs i < j, but 1 where there are none: an empty sum over it is 0, not NaN."""
    return max(n * (n - 1) // 2, 1)


def _check_positive(**parameters):
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name} must be above 0; got {value!r}.")

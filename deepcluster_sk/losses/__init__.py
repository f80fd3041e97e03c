"""Losses of the clustering methods, as pure functions on tensors.

Every loss is a quantity to **minimise** and returns a scalar attached to the graph. A
batch with an empty cluster, one sample or one cluster gives a finite value and finite
gradients. What is held constant (targets, centroids, assignments) is for the caller to
detach.
"""

from deepcluster_sk.losses._common import squared_distances
from deepcluster_sk.losses._directions import (
    anchor_similarity_loss,
    between_cluster_loss,
    spherical_kmeans_loss,
    within_cluster_loss,
)
from deepcluster_sk.losses._divergence import (
    assignment_orthogonality,
    cauchy_schwarz_loss,
    simplex_corner_loss,
)
from deepcluster_sk.losses._embedded import (
    assignment_entropy,
    balanced_target,
    inverse_size_weights,
    kl_divergence,
    kmeans_loss,
    soft_kmeans_loss,
    softmax_assignment,
    student_t_assignment,
    target_distribution,
)
from deepcluster_sk.losses._neighbors import neighbor_loss
from deepcluster_sk.losses._reconstruction import (
    construction_loss,
    layerwise_error,
    mean_squared_error,
    simplex_projection,
    tensorized_cost,
)
from deepcluster_sk.losses._variational import (
    gaussian_divergence,
    mixture_assignment,
    mixture_divergence,
)

__all__ = [
    "anchor_similarity_loss",
    "assignment_entropy",
    "assignment_orthogonality",
    "balanced_target",
    "between_cluster_loss",
    "cauchy_schwarz_loss",
    "construction_loss",
    "gaussian_divergence",
    "inverse_size_weights",
    "kl_divergence",
    "kmeans_loss",
    "layerwise_error",
    "mean_squared_error",
    "mixture_assignment",
    "mixture_divergence",
    "neighbor_loss",
    "simplex_corner_loss",
    "simplex_projection",
    "soft_kmeans_loss",
    "softmax_assignment",
    "spherical_kmeans_loss",
    "squared_distances",
    "student_t_assignment",
    "target_distribution",
    "tensorized_cost",
    "within_cluster_loss",
]

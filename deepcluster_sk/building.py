"""What methods of one's own are built from, under names that stay.

- ``BaseDeepClusterer``: the base class. A method defines ``_module_spec``, ``_phases``,
  ``_assign`` and ``_row_objective``.
- ``ReconstructionMixin``, ``DecoderMixin``: ``reconstruct`` and ``score_samples`` for
  whoever can reconstruct rows; with one decoder also ``inverse_transform``.
- ``SoftAssignmentMixin``: ``predict_proba``; a method defines ``_soft_assign``.
- ``Phase``: a stretch of training with one criterion, which ``_phases`` yields.
- ``Run``: what ``_phases`` may look at: module, data, random state.
- ``Reconstruction``: the criterion of an autoencoder.
- ``kmeans_start``: centres and labels of k-means on codes.

Networks are in ``deepcluster_sk.modules``, losses in ``deepcluster_sk.losses``.
"""

from deepcluster_sk._estimator._base import (
    BaseDeepClusterer,
    DecoderMixin,
    ReconstructionMixin,
    Run,
    SoftAssignmentMixin,
)
from deepcluster_sk._training._run import Phase
from deepcluster_sk.criteria._reconstruction import Reconstruction
from deepcluster_sk.initialization._centers import kmeans_start

__all__ = [
    "BaseDeepClusterer",
    "DecoderMixin",
    "Phase",
    "Reconstruction",
    "ReconstructionMixin",
    "Run",
    "SoftAssignmentMixin",
    "kmeans_start",
]

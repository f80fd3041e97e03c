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

At the end of ``fit`` clusters are numbered by size, the largest first. A module that
has more than a tensor ``centers`` for each cluster defines ``reorder_clusters(order)``:
position j of the first axis gets, in place, what position ``order[j]`` had, ``order``
being a tensor of int64 on the CPU. Where labels do not follow, numbers stay as they
are.

Networks are in ``deepcluster_sk.modules``, losses in ``deepcluster_sk.losses``.
"""

from deepcluster_sk._base import (
    BaseDeepClusterer,
    DecoderMixin,
    ReconstructionMixin,
    Run,
    SoftAssignmentMixin,
)
from deepcluster_sk._criteria import Reconstruction
from deepcluster_sk._phase import Phase
from deepcluster_sk._start import kmeans_start

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

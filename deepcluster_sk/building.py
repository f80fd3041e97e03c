"""What methods of one's own are built from, under names that stay.

A method is a criterion (what is minimised) and a list of phases (when). Nothing in it
is about devices, batches, processes or seeds. Derive from ``BaseDeepClusterer``, with
``DecoderMixin`` if there is a decoder, and define the hooks that differ:

==========================================  ============================================
hook                                        what it is given, returns, and when
==========================================  ============================================
``_phases(run)``                            A generator of ``Phase``, once a run.
                                            Code between two ``yield`` sees the module
                                            as the phase before left it.
``_row_objective(module, x)``               Objective of each row, ``(n, d) -> (n,)``,
                                            for ``objective_``, ``score`` and the choice
                                            among ``n_init`` runs. Labels never choose.
``_objective(fitted, X)``                   Instead, where the objective is no mean over
                                            rows: a float; ``fitted.apply(f, X)`` maps
                                            rows, ``fitted.module_`` is the module.
``_module_spec(n_features)``                A callable and its keyword arguments, which
                                            build the module. By default a
                                            ``CentroidAutoencoder``. The module holds
                                            all that ``predict`` needs.
``_assign(module, x)``                      Cluster of each row, ``(n, d) -> (n,)``, -1
                                            for none; by default the nearest centre.
``_embed(module, x)``                       Embedding, ``(n, d) -> (n, latent_dim)``; by
                                            default ``module.encode(x)``.
``_reconstruct(module, x)``                 With ``ReconstructionMixin``:
                                            ``(n, d) -> (n, d)``; by default encoded and
                                            decoded.
``_soft_assign(module, x)``                 With ``SoftAssignmentMixin``:
                                            ``(n, d) -> (n, k)``; by default
                                            ``module(x).assignment``.
``_keep(run)``                              Makes fitted attributes of the best run;
                                            call ``super()`` first. The base makes
                                            ``labels_``, and ``cluster_centers_`` where
                                            the module has ``centers``.
``_optimize(run)``                          Instead of ``_phases``, where nothing is
                                            trained by gradient.
``_n_runs()``                               Number of starts; by default ``n_init``.
``_first_lr()``                             Learning rate of the first phase; by default
                                            ``lr``.
``_validate_settings(n_features)``          Refuses parameters, before any training;
                                            call ``super()``.
``_validate_target(X, y)``                  What the method reads of ``y``; by default
                                            None.
``_advice()``                               What the error says when numbers are no
                                            longer finite.
==========================================  ============================================

At the end of ``fit`` clusters are numbered by size, the largest first. A module that
has more than a tensor ``centers`` for each cluster defines ``reorder_clusters(order)``:
position j of the first axis gets, in place, what position ``order[j]`` had, ``order``
being a tensor of int64 on the CPU. Where labels do not follow, numbers stay as they
are.

A method that offers ``warm_start`` leaves out the phases that only prepare the
clustering where ``run.is_warm``. What it writes into the module before its first phase
is then replaced by the weights of the fit before.

``_start(run)`` and ``_partial_phase(run, criterion)`` are those of ``PartialFitMixin``.
A clusterer without a network derives from ``BaseSolverClusterer`` and defines
``_solve(run)``, which returns a ``Solution``.

A constructor names only the parameters that the method offers. Every other one that the
base reads has a default on the base.

Networks are in :mod:`deepcluster_sk.modules`, losses in :mod:`deepcluster_sk.losses`.
"""

from deepcluster_sk._estimator._mixins import (
    DecoderMixin,
    ReconstructionMixin,
    SoftAssignmentMixin,
)
from deepcluster_sk._estimator._network_base import (
    BaseDeepClusterer,
    BaseDeepEstimator,
)
from deepcluster_sk._estimator._partial_fit import PartialFitMixin
from deepcluster_sk._estimator._solver_base import BaseSolverClusterer, Solution
from deepcluster_sk._training._run import Phase, Run
from deepcluster_sk.criteria import (
    CombinedCriterion,
    Criterion,
    Reconstruction,
    RelativeReconstruction,
)
from deepcluster_sk.initialization import kmeans_start, pretraining

__all__ = [
    "BaseDeepClusterer",
    "BaseDeepEstimator",
    "BaseSolverClusterer",
    "CombinedCriterion",
    "Criterion",
    "DecoderMixin",
    "PartialFitMixin",
    "Phase",
    "Reconstruction",
    "ReconstructionMixin",
    "RelativeReconstruction",
    "Run",
    "SoftAssignmentMixin",
    "Solution",
    "kmeans_start",
    "pretraining",
]

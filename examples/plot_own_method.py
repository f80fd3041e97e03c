r"""
Write your own method in 30 lines
=================================

A method is a criterion (what is minimised) and a list of phases (when). The base class
brings the rest: validation, seeds, batches, devices, several starts, early failure of
runs that diverge, ``predict`` and ``transform``, pickles, pipelines.

The method here is new, and simple: an autoencoder, soft k-means in its code, and a term
that asks for clusters of equal size. With codes :math:`z_i`, centres :math:`\mu_j` and
:math:`q_{ij} \propto \exp(-\lVert z_i - \mu_j \rVert^2)` it minimises

.. math::

   \frac1{nd} \sum_i \lVert x_i - \hat x_i \rVert^2
   + \alpha \frac1n \sum_{ij} q_{ij} \lVert z_i - \mu_j \rVert^2
   + \beta \sum_j \bar q_j \log (k \bar q_j),
   \qquad \bar q_j = \frac1n \sum_i q_{ij}.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits

from deepcluster_sk.building import (
    BaseDeepClusterer,
    Criterion,
    DecoderMixin,
    Phase,
    Reconstruction,
    kmeans_start,
)
from deepcluster_sk.modules import CentroidAutoencoder
from deepcluster_sk.plotting import LossDisplay

# %%
# The criterion
# -------------
# It gets the output of the module, the batch and the positions of its rows, and returns
# a dict of terms that add up to the loss. The names are those of ``history_``. Per-row
# memory, where a method needs it, would be a buffer read by ``index``.
#
# The sizes of clusters are those within the batch, so what one row adds to the loss
# depends on the others. Where several processes share a batch, the mean of the balances
# of its parts is not its balance: two parts may each be uneven, and even together.
# ``compares_rows`` asks for whole batches.


class BalancedKMeans(Criterion):
    """Reconstruction, soft k-means, and the divergence from equal sizes."""

    compares_rows = True

    def __init__(self, clustering_weight, balance_weight):
        super().__init__()
        self.clustering_weight = clustering_weight
        self.balance_weight = balance_weight
        self.reconstruction = Reconstruction()

    def forward(self, output, x, index):
        centers = output.module.centers
        distance = torch.cdist(output.embedding, centers).square()  # (n, k)
        q = torch.softmax(-distance, dim=1)
        share = q.mean(0)
        return {
            **self.reconstruction(output, x, index),
            "clustering": self.clustering_weight * (q * distance).sum(1).mean(),
            "balance": self.balance_weight * (share * (len(share) * share).log()).sum(),
        }


# %%
# The estimator
# -------------
# ``_module_spec`` names the network, ``_phases`` the training; code between two
# ``yield`` sees the module as the phase before left it. ``_row_objective`` is the share
# of each row in the objective, for ``score`` and ``n_init``. A row belongs to the
# nearest centre, unless ``_assign`` says otherwise.
#
# scikit-learn reads parameters off ``__init__``, which therefore names them one by one.
# Those that this method does not offer have defaults on the base.


class BalancedClustering(DecoderMixin, BaseDeepClusterer):
    """An autoencoder whose code has soft clusters of equal size."""

    def __init__(
        self,
        n_clusters=8,
        *,
        latent_dim=10,
        hidden_layer_sizes=None,
        clustering_weight=0.01,
        balance_weight=0.1,
        pretrain_epochs=50,
        max_epochs=50,
        lr=1e-3,
        random_state=None,
    ):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.hidden_layer_sizes = hidden_layer_sizes
        self.clustering_weight = clustering_weight
        self.balance_weight = balance_weight
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.lr = lr
        self.random_state = random_state

    def _module_spec(self, n_features):
        return CentroidAutoencoder, {
            "n_clusters": self.n_clusters,
            "trainable": True,  # the optimizer moves the centres
            **self._network_arguments(n_features),
        }

    def _phases(self, run):
        yield Phase("pretrain", Reconstruction(), self.pretrain_epochs)
        codes = run.apply(run.module.encode)
        centers, _ = kmeans_start(codes, self.n_clusters, run.random_state)
        with torch.no_grad():
            run.module.centers.copy_(torch.from_numpy(centers))
        criterion = BalancedKMeans(self.clustering_weight, self.balance_weight)
        yield Phase("cluster", criterion, self.max_epochs)

    def _row_objective(self, module, x):
        code = module.encode(x)
        error = (x - module.decode(code)).square().mean(1)
        distance = torch.cdist(code, module.centers).square()
        q = torch.softmax(-distance, dim=1)
        return error + self.clustering_weight * (q * distance).sum(1)


# %%
# It is a whole estimator
# -----------------------
# ``predict``, ``transform``, ``inverse_transform``, ``reconstruct``, ``score_samples``
# and ``cluster_centers_`` come from the base and the mixin.

X, y = load_digits(return_X_y=True)
X = X / 16
model = BalancedClustering(10, hidden_layer_sizes=(256, 128), random_state=0).fit(X)
print("the least usual rows:", model.score_samples(X).argsort()[:5])
same = np.array_equal(clone(model).fit_predict(X), model.labels_)
print("same seed, same labels:", same)
LossDisplay.from_estimator(model)
plt.show()

# %%
# Does the new term do what it should? Three classes of very different size, without the
# term and with it. It moves the border where codes are close, and cannot cut the zeros
# in two: far from any border the assignment is hard, and has no gradient. And where
# classes are known to be uneven, it is the wrong term.

sizes = {0: 170, 1: 60, 2: 30}
rows = np.concatenate([np.flatnonzero(y == c)[:n] for c, n in sizes.items()])
for balance_weight in (0, 1):
    model = BalancedClustering(
        3,
        hidden_layer_sizes=(64,),
        latent_dim=5,
        balance_weight=balance_weight,
        max_epochs=100,
        random_state=0,
    ).fit(X[rows])
    print(f"balance_weight {balance_weight}: sizes {np.bincount(model.labels_)}")

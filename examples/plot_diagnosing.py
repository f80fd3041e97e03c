"""
Diagnosing a bad run
====================

A clustering always comes out. Whether to believe it is another matter, and there are
no labels to ask. This page goes through what can be looked at: the loss terms, the
assignments, the warnings, and whether the objective works for or against the clusters.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, silhouette_score
from skorch.callbacks import Callback

from deepcluster_sk import IDEC
from deepcluster_sk.exceptions import ConvergenceError
from deepcluster_sk.losses import (
    kl_divergence,
    mean_squared_error,
    target_distribution,
)
from deepcluster_sk.metrics import feature_drift
from deepcluster_sk.plotting import LossDisplay, ObjectiveMismatchDisplay

X, y = load_digits(return_X_y=True)
X = X[:1000] / 16
small = {"hidden_layer_sizes": (128, 64), "random_state": 0}

# %%
# Look at the loss terms
# ----------------------
# The same method on the same data twice, the second time with a learning rate sixty
# times as large. Look at the level: 1 is the error of returning the median of the data
# for every row. The second network has learned much less by the end of pretraining, the
# clusters are found in what it has, and the next phase does not catch up.

short = {**small, "pretrain_epochs": 40, "max_epochs": 40, "tol": 0}
good = IDEC(10, **short).fit(X)
bad = IDEC(10, lr=0.06, **short).fit(X)

figure, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for ax, model in zip(axes, (good, bad), strict=True):
    LossDisplay.from_estimator(model, ax=ax, terms=["reconstruction", "clustering"])
    ax.set_xlabel(f"epoch, lr={model.lr:g}")
plt.show()

# %%
# Look at the assignments
# -----------------------
# How sure is each row? Between 1/k (dotted) and 1. A heap at the left means that labels
# are ties broken by chance. A heap at the right proves nothing: these methods are built
# to become sure, also of what is wrong.

figure, ax = plt.subplots(figsize=(5, 3), layout="constrained")
bins = np.linspace(0, 1, 41)
for model, color in ((good, "#3f90da"), (bad, "#bd1f01")):
    sure = model.predict_proba(X).max(1)
    ax.hist(sure, bins, color=color, alpha=0.7, label=f"lr={model.lr:g}")
ax.axvline(0.1, color="black", linestyle=":")
ax.set(xlabel="largest soft assignment", ylabel="rows")
ax.legend(frameon=False)
plt.show()

# %%
# For once, ask the classes:

for model in (good, bad):
    print(f"lr={model.lr:g}: adjusted Rand index", end=" ")
    print(f"{adjusted_rand_score(y[:1000], model.labels_):.2f}")

# %%
# Read the errors and warnings
# ----------------------------
# A run whose loss is no longer finite ends at once, with the phase, the epoch and the
# term. A cluster that loses all rows is re-seeded, and a
# ``ClusterCollapseWarning`` says how often; one that stays empty to the end is
# announced too. Many restarts mean too many clusters, or too large a learning rate.

try:
    IDEC(10, lr=1e3, optimizer="sgd", **short).fit(X)
except ConvergenceError as error:
    print(error)

# %%
# Does the objective work for the clusters?
# -----------------------------------------
# IDEC reconstructs while it clusters. Whether that helps can be measured: watch both
# over the epochs and regress one on the other (R-OFM). A negative slope and a large R²
# say that better reconstruction went with better clusters; a positive slope, that one
# was had at the price of the other. Without labels the silhouette of the embedding
# stands for "better clusters". A callback of skorch is all it takes.


class Watch(Callback):
    """Note the silhouette of the embedding after each epoch of a phase."""

    def __init__(self, X, phase="cluster"):
        self.X = torch.as_tensor(X, dtype=torch.float32)
        self.phase = phase

    def on_epoch_end(self, net, **kwargs):
        """Embed and assign the rows as they are now."""
        if net.phase_.name != self.phase:
            return
        with torch.no_grad():
            output = net.module_(self.X)
            codes, labels = (
                output.embedding.numpy(),
                output.assignment.argmax(1).numpy(),
            )
        net.history.record("silhouette", float(silhouette_score(codes, labels)))


model = IDEC(
    10,
    pretrain_epochs=40,
    max_epochs=60,
    tol=0,
    device="cpu",
    callbacks=[Watch(X)],
    **small,
).fit(X)
ObjectiveMismatchDisplay.from_estimator(
    model, "silhouette", performance_name="silhouette of the embedding"
)
plt.show()

# %%
# The silhouette lives in the embedding, and an embedding can be squeezed until it looks
# good. Use a measure the method does not optimise where you have one.
#
# Do the gradients agree?
# -----------------------
# The cosine between the gradients of two terms, over the encoder: 1 where they pull
# together, -1 where they pull apart, near 0 where they do not concern each other.

module = model.module_
x = torch.as_tensor(X, dtype=torch.float32)
output = module(x)
clustering = kl_divergence(
    target_distribution(output.assignment.detach()), output.assignment
)
reconstruction = mean_squared_error(output.reconstruction, x)
drift = feature_drift(module.autoencoder.encoder, clustering, reconstruction)
print(f"cosine of the gradients at the end: {drift:.2f}")

# %%
# Look at rows
# ------------
# The rows that are reconstructed worst, and those of each cluster with the least sure
# assignment, tell more than a figure. If they look like neighbours of another cluster,
# the border is in the wrong place; if they look like nothing, they may be no data.

worst = model.score_samples(X).argsort()[:10]
unsure = model.predict_proba(X).max(1).argsort()[:10]
figure, axes = plt.subplots(2, 10, figsize=(8, 1.9), layout="constrained")
for line, rows, label in zip(
    axes, (worst, unsure), ("worst\nrebuilt", "least\nsure"), strict=True
):
    for ax, i in zip(line, rows, strict=True):
        ax.imshow(X[i].reshape(8, 8), cmap="gray")
        ax.set(xticks=[], yticks=[])
    line[0].set_ylabel(label, rotation=0, ha="right", va="center")
plt.show()

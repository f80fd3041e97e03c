"""
Data larger than memory
=======================

``PCX`` keeps nothing for each row. It reads an array on disk batch by batch, and it
can learn from a stream that is never stored.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import PCX
from deepcluster_sk.plotting import LossDisplay

# %%
# From a file
# -----------
# A file of 40,000 rows stands for one that does not fit into memory. It is written in
# pieces, and opened without being read.

n, d = 40_000, 50
centers = np.random.default_rng(0).normal(size=(8, d))
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "rows.npy"
file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, d))
y = np.empty(n, dtype=int)
for start in range(0, n, 10_000):
    rows = slice(start, start + 10_000)
    file[rows], y[rows] = make_blobs(10_000, centers=centers, random_state=start)
file.flush()

X = np.load(path, mmap_mode="r")
print(type(X).__name__, X.shape)

# %%
# ``fit`` sees that the array is on disk and leaves it there. Memory beyond the network
# is that of a batch and of the centroids; only the start takes 10,000 codes, for
# k-means.

model = PCX(
    8, hidden_layer_sizes=(64,), pretrain_epochs=3, max_epochs=5, random_state=0
).fit(X)
print(f"agreement {adjusted_rand_score(y, model.labels_):.2f}")

# %%
# ``predict`` and ``transform`` read it the same way. An array of codes is small; labels
# are smaller.

print(model.predict(X[:5]), model.transform(X[:5]).shape)

# %%
# From a stream
# -------------
# ``partial_fit`` takes one batch after another. The first call pretrains on its batch
# and places the centroids, so give it some hundred rows at least; later calls make one
# pass over their rows each. Here the clusters drift: centroids follow at the speed of
# ``decay``.

stream = PCX(
    3,
    latent_dim=2,
    hidden_layer_sizes=(32,),
    pretrain_epochs=300,
    decay=0.8,
    lr=3e-3,
    random_state=0,
)
places = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
path_of_exemplars = []
for step in range(40):
    rng = np.random.default_rng(step)
    places = places + np.array([0.04, 0.02])
    batch = places[rng.integers(3, size=500)] + 0.4 * rng.normal(size=(500, 2))
    stream.partial_fit(batch)
    path_of_exemplars.append(stream.exemplars_)

figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.scatter(*batch.T, s=5, color="0.7", label="the last batch")
for j, line in enumerate(np.transpose(path_of_exemplars, (1, 0, 2))):
    ax.plot(*line.T, color="#bd1f01", linewidth=1)
    label = "exemplars, and where they came from" if j == 0 else None
    ax.scatter(*line[-1], color="#bd1f01", s=40, zorder=3, label=label)
ax.set(xlabel="feature 0", ylabel="feature 1")
ax.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()

# %%
# The history goes on from call to call.

LossDisplay.from_estimator(stream, terms=["loss", "reconstruction", "clustering"])
plt.show()

# %%
# Windows does not delete a file that is open.

del X, file
folder.cleanup()

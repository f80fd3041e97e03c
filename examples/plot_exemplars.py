"""
Exemplars
=========

``PCX`` decodes each code together with the centroid of its cluster. Decoded alone, a
centroid is an exemplar: a row, in the units of the data, that shows what the cluster
is. People who cannot read an embedding can read exemplars.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import PCX
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.plotting import ExemplarDisplay, LossDisplay

# %%
# Images
# ------
# Exemplars of the digits. The number in brackets is the size of the cluster.

X, y = load_digits(return_X_y=True)
model = PCX(
    10,
    hidden_layer_sizes=(256, 128),
    image_shape=(1, 8, 8),
    pretrain_epochs=40,
    max_epochs=60,
    random_state=0,
).fit(X / 16)
ExemplarDisplay.from_estimator(model)
plt.show()

# %%
# The classes say how pure each cluster is. They are used here for the first time.

table = np.zeros((10, 10), dtype=int)
np.add.at(table, (model.labels_, y), 1)
for cluster, row in enumerate(table):
    shares = ", ".join(f"{n} of {d}" for d, n in enumerate(row) if n > 0.1 * row.sum())
    print(f"cluster {cluster}: {shares}")

# %%
# The three phases of training: reconstruction alone; the burn-in, in which centroids
# begin to move; and the whole objective, with the entropy of the soft assignment.

LossDisplay.from_estimator(model)
plt.show()

# %%
# A table
# -------
# Exemplars of a table are profiles. These are of penguins, in the original units after
# the scaling is undone.

frame = load_penguins(as_frame=True).data
scaler = StandardScaler().fit(frame)
model = PCX(
    3, latent_dim=2, hidden_layer_sizes=(32,), pretrain_epochs=100, random_state=0
).fit(scaler.transform(frame))
for size, row in zip(
    np.bincount(model.labels_), scaler.inverse_transform(model.exemplars_), strict=True
):
    values = zip(frame.columns, row, strict=True)
    print(
        f"{size:3} birds:", ", ".join(f"{name} {value:.0f}" for name, value in values)
    )

"""
Images
======

Rows stay rows: ``image_shape`` says how to read one as an image, and convolutions do
the rest. So images go through the same pipelines as tables.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import normalized_mutual_info_score

from deepcluster_sk import IDEC, DiscriminativeClustering
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.metrics import clustering_accuracy
from deepcluster_sk.plotting import EmbeddingDisplay, LossDisplay

X, y = load_digits(return_X_y=True)
X, y = X[:1000] / 16, y[:1000]  # brightness from 0 to 1
images = {"architecture": "conv", "image_shape": (1, 8, 8), "random_state": 0}

# %%
# A method with a decoder: IDEC on a convolutional autoencoder, which is DCEC.
# ``hidden_layer_sizes`` are the channels; each layer halves the side.

model = IDEC(
    10, hidden_layer_sizes=(16, 32), pretrain_epochs=40, max_epochs=40, **images
).fit(X)
LossDisplay.from_estimator(model)
plt.show()

# %%
# What an image shows does not change when it is turned or shifted a little. An
# ``augmentation`` tells a method so: each time it meets an image, it meets another
# one. On 8 × 8 pixels this costs more than it brings: a tenth of the side is less than
# a pixel, and what is moved by half a pixel is blurred. On larger images, such as those
# of MNIST, it is what helps most.

move = RandomAffine((1, 8, 8))
generator = torch.Generator().manual_seed(0)
first = torch.tensor(X[:10], dtype=torch.float32)
views = [first, *(move(first, generator) for _ in range(4))]
figure, axes = plt.subplots(5, 10, figsize=(5, 2.6), layout="constrained")
for line, view in zip(axes, views, strict=True):
    for ax, image in zip(line, view, strict=True):
        ax.imshow(image.view(8, 8), cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
plt.show()
moved = clone(model).set_params(augmentation=move).fit(X)

# %%
# A method that compares images with one another: its small pooled network, trained on
# pairs.

other = DiscriminativeClustering(
    10, latent_dim=30, hidden_layer_sizes=(16, 32), pretrain_epochs=30, **images
).fit(X)
EmbeddingDisplay.from_estimator(other, X)
plt.show()

# %%
# Classes are used to score only. No run was chosen with their help.

for fitted in (model, moved, other):
    accuracy = clustering_accuracy(y, fitted.labels_)
    nmi = normalized_mutual_info_score(y, fitted.labels_)
    name = type(fitted).__name__
    if fitted.augmentation is not None:
        name += " on moved images"
    print(f"{name}: accuracy {accuracy:.2f}, NMI {nmi:.2f}")

# %%
# What a cluster looks like: the images nearest to its centre, one cluster a line.

codes = other.transform(X)
nearest = (other.cluster_centers_ @ codes.T).argsort(axis=1)[:, :-13:-1]
rows = [np.hstack([np.pad(X[i].reshape(8, 8), 1) for i in line]) for line in nearest]
figure, ax = plt.subplots(figsize=(5, 4.2), layout="constrained")
ax.imshow(np.vstack(rows), cmap="gray")
ax.set_yticks(10 * np.arange(10) + 4.5, [f"cluster {j}" for j in range(10)])
ax.set_xticks([])
ax.tick_params(length=0)
plt.show()

"""
Denoising
=========

An autoencoder that is too narrow for the noise removes it. One that knows the cluster
of a row need not be wide enough for all clusters at once.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from deepcluster_sk import Autoencoder, TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.plotting import DenoisingDisplay

# %%
# A table
# -------
# One straight line for each of three clusters. Noise across the line goes; noise along
# it stays, and so does what is no noise but does not lie on the line: that is the price
# of a code of width 1.

X, species = load_penguins(return_X_y=True)
X = X / X.max(axis=0)
model = TensorizedAutoencoder(3, latent_dim=1, random_state=0).fit(X)
DenoisingDisplay.from_estimator(model, X, model.labels_, noise_std=0.05, random_state=0)
plt.show()

# %%
# Images
# ------
# Ten autoencoders with a code of 8 numbers each, for the digits. Half of the images
# train; the others are made noisy and restored.

X, y = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X / 16, test_size=0.5, random_state=0)
model = TensorizedAutoencoder(
    10, latent_dim=8, image_shape=(1, 8, 8), random_state=0
).fit(X_train)
DenoisingDisplay.from_estimator(model, X_test, noise_std=0.3, random_state=0)
plt.show()

# %%
# The width decides
# -----------------
# The error against the clean image, by the width of the code. A narrow code loses the
# image, a wide one keeps the noise. A single linear autoencoder of the same width is
# the control.

noise_std = 0.3
noisy = X_test + np.random.default_rng(0).normal(0, noise_std, X_test.shape)
widths = [1, 2, 4, 8, 16, 32]
errors = {"one autoencoder a cluster": [], "one autoencoder": []}
for latent_dim in widths:
    models = (
        TensorizedAutoencoder(10, latent_dim=latent_dim, n_init=2, random_state=0),
        # With one cluster and no penalty this is the best linear autoencoder.
        TensorizedAutoencoder(1, latent_dim=latent_dim, code_penalty=0, random_state=0),
    )
    for found, model in zip(errors.values(), models, strict=True):
        denoised = model.fit(X_train).denoise(noisy)
        found.append(np.square(denoised - X_test).mean())

figure, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for (label, found), color in zip(errors.items(), ("#bd1f01", "#3f90da"), strict=True):
    ax.plot(widths, found, "o-", color=color, label=label)
ax.axhline(noise_std**2, color="black", linestyle=":", label="the noise itself")
ax.set(xscale="log", xlabel="latent_dim", ylabel="mean squared error", ylim=(0, None))
ax.set_xticks(widths, widths)
ax.minorticks_off()
ax.legend(frameon=False)
plt.show()

# %%
# Without clusters
# ----------------
# ``Autoencoder`` with ``noise_std`` learns to remove noise of that size: its inputs are
# made noisy in training, the targets stay clean.

model = Autoencoder(
    latent_dim=16,
    hidden_layer_sizes=(128,),
    noise_std=noise_std,
    image_shape=(1, 8, 8),
    random_state=0,
).fit(X_train)
print(f"denoising autoencoder: {np.square(model.denoise(noisy) - X_test).mean():.4f}")

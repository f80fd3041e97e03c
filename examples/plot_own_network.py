"""
Your own network
================

``architecture`` takes ``"mlp"``, ``"conv"``, or anything that builds a
``torch.nn.Module`` with ``encode`` and ``decode``. The method stays as it is: it asks
its network for a code and a reconstruction, and no more.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.metrics import adjusted_rand_score
from torch import nn

from deepcluster_sk import IDEC
from deepcluster_sk.plotting import EmbeddingDisplay

# %%
# The data
# --------
# Series of 64 steps: three wave forms that start anywhere. What tells them apart is the
# form, not the value at any step.

rng = np.random.default_rng(0)
n = 600
y = rng.integers(3, size=n)
phase = (np.linspace(0, 2, 64, endpoint=False) + rng.uniform(0, 1, (n, 1))) % 1
forms = (
    np.sin(2 * np.pi * phase),
    np.sign(phase - 0.5),
    2 * phase - 1,
)
X = np.select([y[:, None] == j for j in range(3)], forms) + 0.1 * rng.normal(
    size=(n, 64)
)

figure, axes = plt.subplots(1, 3, figsize=(8, 1.8), sharey=True, layout="constrained")
for j, ax in enumerate(axes):
    ax.plot(X[y == j][:3].T, linewidth=1)
    ax.set_title(f"class {j}", fontsize=10)
plt.show()

# %%
# The network
# -----------
# A shift does not change the magnitudes of the Fourier transform, so those are the
# rows. The network is a perceptron with skip connections.

spectra = np.abs(np.fft.rfft(X))[:, 1:]
spectra /= np.linalg.norm(spectra, axis=1, keepdims=True)


class ResidualAutoencoder(nn.Module):
    """A perceptron with skip connections and layer normalisation."""

    def __init__(self, n_features, latent_dim, width=64):
        super().__init__()
        self.into = nn.Linear(n_features, width)
        self.encoder = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.to_code = nn.Linear(width, latent_dim)
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.Sequential(
            nn.Linear(latent_dim, width), nn.GELU(), nn.Linear(width, n_features)
        )

    def encode(self, x):
        h = self.into(x)
        for layer in self.encoder:
            h = h + torch.nn.functional.gelu(layer(self.norm(h)))
        return self.to_code(h)

    def decode(self, code):
        return self.decoder(code)


# %%
# It is called as ``architecture(n_features, latent_dim)``; ``functools.partial`` sets
# what else it takes. Shapes are checked once, before any training.

model = IDEC(
    3,
    architecture=ResidualAutoencoder,
    latent_dim=4,
    pretrain_epochs=60,
    max_epochs=60,
    random_state=0,
)
model.fit(spectra / spectra.std())
print(f"agreement with the wave forms: {adjusted_rand_score(y, model.labels_):.2f}")
EmbeddingDisplay.from_estimator(model, spectra / spectra.std())
plt.show()

# %%
# A network that does not fit is refused with words, not after an hour:


class Forgetful(nn.Module):
    """Has no decoder."""

    def __init__(self, n_features, latent_dim):
        super().__init__()
        self.encode = nn.Linear(n_features, latent_dim)


try:
    IDEC(3, architecture=Forgetful).fit(spectra)
except TypeError as error:
    print(error)

"""
Quick start
===========

Cluster a table, look at the clusters, and say where new rows belong.
"""

import matplotlib.pyplot as plt
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split

from deepcluster_sk import TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.plotting import EmbeddingDisplay

# %%
# Four measurements of 342 penguins of three species, each divided by its largest value:
# the methods see one scale for all features.

X, species = load_penguins(return_X_y=True)
X = X / X.max(axis=0)
X_train, X_test, species_train, species_test = train_test_split(
    X, species, test_size=0.3, random_state=0
)

# %%
# An estimator of the package is used as one of scikit-learn. Nothing here sees the
# species.

model = TensorizedAutoencoder(n_clusters=3, latent_dim=1, random_state=0).fit(X_train)
model

# %%
# New birds are assigned by the same rule as those of the training:

print(f"training: {adjusted_rand_score(species_train, model.labels_):.2f}")
print(f"new rows: {adjusted_rand_score(species_test, model.predict(X_test)):.2f}")

# %%
# Each cluster has an embedding of its own here, so the display draws the birds
# themselves, on their two principal components: how far clusters are apart, and where
# they touch. Methods with one embedding for all are drawn by it.

EmbeddingDisplay.from_estimator(model, X)
plt.show()

# %%
# ``transform`` is the embedding: up to the sign, how large a bird is for its kind.

print(model.transform(X_test)[:3].round(3))

# %%
# ``history_`` has a row for each sweep or epoch; ``objective_`` is what is compared
# between starts (here the loss and what its parameters cost, a Bayesian information
# criterion), and ``score`` is minus the same for any rows.

last = model.history_[-1]
print(f"sweep {last['epoch']}: loss {last['loss']:.5f} =", end=" ")
print(f"reconstruction {last['reconstruction']:.5f} + code {last['code']:.5f}", end=" ")
print(f"+ log-determinant {last['log_determinant']:.5f}")
print(f"objective {model.objective_:.5f}, of new rows {-model.score(X_test):.5f}")

"""
Which methods agree, and where they do not
==========================================

Without labels nobody can say which of several clusterings is right. What can be seen
is which of them are alike, and which rows they put in different clusters.
"""

import matplotlib.pyplot as plt
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import DEC, PCX, SparseSubspaceClustering, TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.plotting import AgreementDisplay

X, _ = load_penguins(return_X_y=True)
X = StandardScaler().fit_transform(X)

# %%
# Seven clusterings of the penguins, two of them of the same method with other seeds.

estimators = {
    "k-means": KMeans(3, n_init=10, random_state=0),
    "Gaussian mixture": GaussianMixture(3, n_init=5, random_state=0),
    "DEC, seed 0": DEC(3, random_state=0),
    "DEC, seed 1": DEC(3, random_state=1),
    "PCX": PCX(3, random_state=0),
    "tensorized autoencoder": TensorizedAutoencoder(3, random_state=0),
    "sparse subspaces": SparseSubspaceClustering(3, random_state=0),
}
for estimator in estimators.values():
    estimator.fit(X)

# %%
# Names are ordered so that those that agree stand together. On the right, a row is the
# darker the less the methods agree which other rows are in its cluster.

display = AgreementDisplay.from_estimators(estimators, X)
plt.show()

# %%
# The rows to look at first: of the rows that two clusterings put together with one of
# them, on average less than half are the same.

print(
    len(display.disputed_), "of", len(X), "rows are disputed:", display.disputed_[:10]
)

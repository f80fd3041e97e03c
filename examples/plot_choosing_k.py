"""
Choosing the number of clusters
===============================

Most methods are told the number of clusters; DEC, IDEC and DCN can find it
(``n_clusters="auto"``). The objective cannot choose it, since it falls with every
cluster that is added. A search compares numbers without
labels, on rows that were not fitted, and with data that have no clusters.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import adjusted_rand_score

from deepcluster_sk import TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.model_selection import NumberOfClustersSearch
from deepcluster_sk.plotting import NumberOfClustersDisplay

X, species = load_penguins(return_X_y=True)
X = X / X.max(axis=0)

search = NumberOfClustersSearch(
    TensorizedAutoencoder(n_init=3), range(2, 8), random_state=0
)
search.fit(X)
NumberOfClustersDisplay.from_estimator(
    search, criteria=["stability", "neighbors", "silhouette"]
)
plt.show()

# %%
# **Stability.** Whether two fits to different halves agree on rows that neither saw.
# Too many clusters cut something whole in two, each time elsewhere. The dashed line is
# what the same method shows on data of the same covariance without clusters.
#
# **Near neighbours.** Whether they are in the same cluster: borders should run where
# there are few rows.
#
# **Silhouette.** Whether rows are nearer to their own cluster than to the next. It
# believes in round clusters, whatever the method believes.
#
# The shade is one standard deviation over splits.

print(search.n_clusters_)

# %%
# There are three species, which the search was not told. One of them is far from the
# other two, and that is what it finds; the next best number is three, nearly as stable.
# The curves say more than the number that is chosen.

for k in (2, 3):
    labels = TensorizedAutoencoder(k, n_init=5, random_state=0).fit_predict(X)
    print(k, round(adjusted_rand_score(species, labels), 2))

# %%
# **No structure** is an answer too: a cloud of the same covariance is left whole.

cloud = np.random.default_rng(0).multivariate_normal(X.mean(0), np.cov(X.T), len(X))
print(search.fit(cloud).n_clusters_)

# %%
# Criteria need not agree, and where they do not, the question may be wrong: each of the
# species has two sexes, too. A clustering is for something, and that decides.

"""
Choosing the number of clusters
===============================

No method here finds the number of clusters. An objective cannot choose it where it
falls with every cluster that is added. Three things that can help, none of which needs
labels; they need not agree, and where they do not, the question may be wrong.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score, silhouette_score

from deepcluster_sk import TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins

X, species = load_penguins(return_X_y=True)
X = X / X.max(axis=0)

# %%
# **The elbow.** How much of the held-out error does one more cluster remove? Rows that
# were not fitted make the curve honest, though it still falls.
#
# **The silhouette.** Whether rows are nearer to their own cluster than to the next. It
# believes in round clusters, whatever the method believes.
#
# **Stability.** Whether two fits to different halves agree on rows that neither saw.
# Too many clusters cut something whole in two, each time elsewhere.


def split(seed):
    """Rows of two halves to fit, and of a third part to compare."""
    order = np.random.default_rng(seed).permutation(len(X))
    return np.split(order, [2 * len(X) // 5, 4 * len(X) // 5])


counts = range(2, 9)
elbow, silhouette, stability = [], [], []
for k in counts:
    model = TensorizedAutoencoder(k, code_penalty=-0.1, n_init=5, random_state=0)
    errors, agreement = [], []
    for seed in range(6):
        first, second, new = split(seed)
        one, two = (clone(model).fit(X[rows]) for rows in (first, second))
        agreement.append(adjusted_rand_score(one.predict(X[new]), two.predict(X[new])))
        errors.append(-one.score(X[new]))
    elbow.append(np.mean(errors))
    stability.append(np.mean(agreement))
    silhouette.append(silhouette_score(X, model.fit_predict(X)))

figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
for ax, values, title in zip(
    axes,
    (elbow, silhouette, stability),
    ("held-out objective", "silhouette", "stability"),
    strict=True,
):
    ax.plot(counts, values, "o-", color="#3f90da")
    ax.axvline(3, color="0.7", linestyle=":", zorder=0)
    ax.set(title=title, xlabel="n_clusters", xticks=counts)
plt.show()

# %%
# There are three species (dotted). The elbow is there, and stability holds until there
# and then breaks. The silhouette prefers two: two of the species are close together.
# Neither answer is wrong. A clustering is for something, and that decides.

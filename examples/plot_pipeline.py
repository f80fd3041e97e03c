"""
Pipelines and grid searches
===========================

The estimators follow scikit-learn's contract, so scaling, cross-validation and searches
need no glue. What a search may compare without labels takes some thought; that is the
second half of this page.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from deepcluster_sk import TensorizedAutoencoder

# %%
# A pipeline
# ----------
# The 13 columns of this table have 13 units. The scaler goes into the pipeline, so that
# new rows are scaled as the training rows were.

X, y = load_wine(return_X_y=True, as_frame=True)
pipeline = make_pipeline(
    StandardScaler(), TensorizedAutoencoder(3, latent_dim=2, random_state=0)
).set_output(transform="pandas")
pipeline.fit(X)

# %%
# ``set_output`` asked for data frames:

pipeline.transform(X.head(3))

# %%
# A search over what the score can compare
# ----------------------------------------
# Without labels a search maximises ``score``, minus the objective per held-out row.
# Starting strategies, solvers, learning rates and network sizes may be compared so:
# they lower one and the same objective.

search = GridSearchCV(
    pipeline,
    {
        "tensorizedautoencoder__init": ["k-means++", "random"],
        "tensorizedautoencoder__n_init": [1, 10],
    },
    cv=ShuffleSplit(3, test_size=0.3, random_state=0),
).fit(X)
columns = ["param_tensorizedautoencoder__init", "param_tensorizedautoencoder__n_init"]
print(pd.DataFrame(search.cv_results_)[[*columns, "mean_test_score"]].to_string())

# %%
# A search over what it cannot compare
# ------------------------------------
# A parameter that is part of the objective changes what the score means.
# ``code_penalty`` weighs a term; without it the objective is lower, so the score would
# always take 0. An index that does not depend on the parameter is needed: here the
# agreement between the clusters of two halves of the data, told on rows that neither
# has seen. Clusters that come back can be believed; those that do not are accidents of
# the sample. Here the order of the penalties is that of the agreement with the classes,
# which the search did not see.


def stability(model, X, n_splits=8):
    """Mean agreement, on common new rows, of models fitted to disjoint parts."""
    found = []
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(X))
        first, second, new = np.split(order, [2 * len(X) // 5, 4 * len(X) // 5])
        labels = [
            clone(model).fit(X.iloc[rows]).predict(X.iloc[new])
            for rows in (first, second)
        ]
        found.append(adjusted_rand_score(*labels))
    return np.mean(found)


penalties = [-1, -0.7, -0.5, -0.3, -0.1, 0]
score, stable, agreement = [], [], []
for penalty in penalties:
    model = clone(pipeline).set_params(tensorizedautoencoder__code_penalty=penalty)
    stable.append(stability(model, X))
    score.append(model.fit(X).score(X))
    agreement.append(adjusted_rand_score(y, model.predict(X)))

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
axes[0].plot(penalties, score, "o-", color="#94a4a2")
axes[0].set(xlabel="code_penalty", title="score: always for 0")
axes[1].plot(penalties, stable, "o-", color="#3f90da", label="stability, no labels")
axes[1].plot(penalties, agreement, "s--", color="#bd1f01", label="with the classes")
axes[1].set(xlabel="code_penalty", ylim=(0, 1.02), title="adjusted Rand index")
axes[1].legend(frameon=False, loc="lower left")
plt.show()

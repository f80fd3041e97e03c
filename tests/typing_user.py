"""What a user writes, for the type checker: ``make lint`` checks it, nothing runs it.

``assert_type`` fails where a type is another one, ``Any`` included.
"""

from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import deepcluster_sk
from deepcluster_sk import (
    DCN,
    DDC,
    DEC,
    DEPICT,
    DKM,
    IDEC,
    PCX,
    Autoencoder,
    ConvTransformClustering,
    DeepDictionaryClustering,
    DeepSubspaceClustering,
    DeepTransformClustering,
    DiscriminativeClustering,
    DynAE,
    SparseSubspaceClustering,
    TensorizedAutoencoder,
    VaDE,
    load,
)
from deepcluster_sk.augmentation import RandomAffine
from deepcluster_sk.datasets import (
    load_penguins,
    make_lines_3d,
    make_orthogonal,
    make_parallel,
    make_triangle,
)
from deepcluster_sk.exceptions import ClusterCollapseWarning, ConvergenceError
from deepcluster_sk.kernels import gaussian_kernel
from deepcluster_sk.losses import (
    kl_divergence,
    softmax_assignment,
    student_t_assignment,
    target_distribution,
)
from deepcluster_sk.metrics import (
    clustering_accuracy,
    feature_drift,
    neighbor_agreement,
    objective_mismatch,
    silhouette,
    stability_score,
)
from deepcluster_sk.model_selection import NumberOfClustersSearch
from deepcluster_sk.modules import MLPAutoencoder
from deepcluster_sk.plotting import (
    EmbeddingDisplay,
    ExemplarDisplay,
    LossDisplay,
    ObjectiveMismatchDisplay,
)
from deepcluster_sk.solvers import self_expression

Labels = NDArray[np.int32]
Values = NDArray[np.float32]

X = np.zeros((9, 4))
y = [0, 1, 2] * 3

# Estimators are made, fitted, and asked.
dec = DEC(3, latent_dim=2, hidden_layer_sizes=(8, 8), random_state=0)
assert_type(DEC(3, init=X[:3], warm_start=True).fit(X), DEC)
assert_type(dec.fit(X), DEC)
assert_type(dec.fit(X, y), DEC)
assert_type(dec.fit_predict(X), Labels)
assert_type(dec.fit_transform(X), Values)
assert_type(dec.predict(X), Labels)
assert_type(dec.transform(X), Values)
assert_type(dec.predict_proba(X), Values)
assert_type(dec.score(X), float)
assert_type(dec.labels_, Labels)
assert_type(dec.cluster_centers_, Values)
assert_type(dec.history_, list[dict[str, Any]])
assert_type(dec.objective_, float)
assert_type(dec.n_iter_, int)
assert_type(dec.get_params(), dict[str, Any])
assert_type(dec.set_params(lr=1e-2), DEC)
assert_type(dec.set_output(transform="pandas"), DEC)
dec.save("model.safetensors")

idec = IDEC(3, augmentation=RandomAffine((1, 2, 2)), device=torch.device("cpu"))
assert_type(idec.fit(X).reconstruct(X), Values)
assert_type(idec.inverse_transform(idec.cluster_centers_), Values)
assert_type(idec.score_samples(X), Values)
assert_type(DCN(3, pretraining="end-to-end").fit_predict(X), Labels)
assert_type(DDC(3, companion="tensor").fit(X).predict_proba(X), Values)

assert_type(DEPICT(3).fit(X).predict_proba(X), Values)
assert_type(DynAE(3).fit_predict(X), Labels)
assert_type(VaDE(3).fit(X).predict_proba(X), Values)
assert_type(DKM(3).fit_predict(X), Labels)

pcx = PCX(3, imbalanced=True, n_init=2)
assert_type(pcx.fit(X), PCX)
assert_type(pcx.partial_fit(X), PCX)
assert_type(pcx.predict_proba(X), Values)

tensorized = TensorizedAutoencoder(3, latent_dim="auto", n_init="auto", verbose=1)
assert_type(tensorized.fit(X, y).denoise(X), Values)
assert_type(tensorized.predict(X.tolist()), Labels)
assert_type(Autoencoder(latent_dim=2, noise_std=0.1).fit_transform(X), Values)
assert_type(Autoencoder().fit(X).denoise(X), Values)
assert_type(DiscriminativeClustering(3, metric="euclidean").fit_predict(X), Labels)
assert_type(SparseSubspaceClustering(3, affine=True).fit_predict(X), Labels)
assert_type(DeepSubspaceClustering(3, update_interval=2).fit_predict(X), Labels)
assert_type(DeepDictionaryClustering(3, clustering="subspace").fit_predict(X), Labels)
assert_type(DeepTransformClustering(3, max_iter=5).fit_predict(X), Labels)
assert_type(ConvTransformClustering(3, image_shape=(1, 1, 4)).fit_predict(X), Labels)

# Files.
loaded = load("model.safetensors", device="cpu")
if isinstance(loaded, DEC):
    assert_type(loaded, DEC)
    assert_type(loaded.predict(X), Labels)
assert_type(loaded.transform(X), Values)
assert_type(loaded.score(X), float)
assert_type(deepcluster_sk.__version__, str)

# How many clusters.
search = NumberOfClustersSearch(dec, range(2, 6), random_state=0, verbose=1)
assert_type(search.fit(X), NumberOfClustersSearch)

# Metrics.
assert_type(clustering_accuracy(y, dec.labels_), float)
assert_type(neighbor_agreement(X, dec.labels_, n_neighbors=5), float)
assert_type(silhouette(X, dec.labels_, sample_size=None), float)
assert_type(stability_score(dec, X, n_splits=2, random_state=0), float)
mismatch = objective_mismatch([3.0, 2.0, 1.0], [0.1, 0.2, 0.4], degree=1)
assert_type(mismatch.slope, float)
loss = torch.zeros(1)
assert_type(feature_drift(torch.nn.Linear(1, 1), loss, loss), float)

# Data.
penguins, species = load_penguins(return_X_y=True)
dec.fit(penguins, species)
for make in (make_parallel, make_orthogonal, make_triangle):
    make(90, random_state=0)
lines, _ = make_lines_3d(random_state=np.random.RandomState(0))
dec.fit(lines)

# Mathematics.
codes, centers = torch.zeros(9, 2), torch.zeros(3, 2)
soft = student_t_assignment(codes, centers)
assert_type(soft, torch.Tensor)
assert_type(target_distribution(soft), torch.Tensor)
assert_type(kl_divergence(target_distribution(soft), soft), torch.Tensor)
assert_type(softmax_assignment(codes, centers), torch.Tensor)
assert_type(gaussian_kernel(codes, 1.0), torch.Tensor)
self_expression(X, 0.1)
network = MLPAutoencoder(4, 2, (8,))
assert_type(network.encode(codes), torch.Tensor)

# Pictures.
assert_type(EmbeddingDisplay.from_estimator(dec, X, space="data"), EmbeddingDisplay)
assert_type(EmbeddingDisplay(X, y).plot(legend=False), EmbeddingDisplay)
assert_type(ExemplarDisplay.from_estimator(pcx, X), ExemplarDisplay)
assert_type(LossDisplay.from_estimator(dec), LossDisplay)
display = ObjectiveMismatchDisplay.from_estimator(dec, "silhouette")
assert_type(display, ObjectiveMismatchDisplay)

try:
    dec.fit(X)
except ConvergenceError as error:
    assert_type(str(error), str)
assert issubclass(ClusterCollapseWarning, UserWarning)

"""The smallest method that is a whole estimator, as a user would write it."""

import torch

from deepcluster_sk.building import (
    BaseDeepClusterer,
    CombinedCriterion,
    Criterion,
    DecoderMixin,
    Phase,
    RelativeReconstruction,
    kmeans_start,
    pretraining,
)


class NearCenters(Criterion):
    def forward(self, output, x, index):
        distance = output.module.distances(output.embedding).amin(1)
        return {"clustering": 0.1 * distance.mean()}


class OwnMethod(DecoderMixin, BaseDeepClusterer):
    hidden_layer_sizes = (8,)

    def __init__(self, n_clusters=3, latent_dim=2, max_epochs=5, random_state=None):
        self.n_clusters = n_clusters
        self.latent_dim = latent_dim
        self.max_epochs = max_epochs
        self.random_state = random_state

    def _phases(self, run):
        yield from pretraining(run, self.max_epochs, "end-to-end", mask_rate=0.1)
        code = run.apply(run.module.encode)
        centers, _ = kmeans_start(code, self.n_clusters, run.random_state)
        run.module.centers.copy_(torch.from_numpy(centers))
        criterion = CombinedCriterion(RelativeReconstruction(), NearCenters())
        yield Phase("cluster", criterion, self.max_epochs)

    def _row_objective(self, module, x):
        code = module.encode(x)
        distance = module.distances(code).amin(1)
        return module.relative_error(x, code).mean(1) + 0.1 * distance

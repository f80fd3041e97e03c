"""The one registry of estimators that all common tests run on."""

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
)

# Small networks and few epochs, so that a common test takes a fraction of a second.
TINY = {
    "n_clusters": 3,
    "latent_dim": 2,
    "hidden_layer_sizes": (8,),
    "pretrain_epochs": 2,
    "max_epochs": 4,
    "random_state": 0,
}
# Fewer steps leave some clusters of DDC empty.
DIVERGENCE = {**TINY, "latent_dim": 8, "pretrain_epochs": 0} | {
    "hidden_layer_sizes": (16,),
    "max_epochs": 30,
    "lr": 1e-2,
}
SMALL = {
    "DCN": DCN(**TINY),
    "DDC": DDC(**DIVERGENCE),
    "DDC-tensor": DDC(
        **DIVERGENCE, pretraining=None, companion="tensor", reconstruction_weight=0.1
    ),
    "DEC": DEC(**TINY),
    "DCN-end-to-end": DCN(**TINY, pretraining="end-to-end"),
    "DEC-layerwise": DEC(**TINY, pretraining="layerwise"),
    "DEC-naive": DEC(**TINY, companion="naive"),
    "DEC-published": DEC(
        **TINY, pretraining="end-to-end", init="k-means", whiten=False
    ),
    "DEPICT": DEPICT(**TINY),
    "DEPICT-published": DEPICT(
        **TINY,
        pretraining="end-to-end",
        init="k-means",
        whiten=False,
        target="balanced",
    ),
    "DynAE": DynAE(**TINY),
    "DynAE-published": DynAE(
        **TINY, pretraining="end-to-end", init="k-means", whiten=False
    ),
    "DKM": DKM(**TINY),
    "DKM-end-to-end": DKM(**TINY, pretraining="end-to-end", alpha=10.0),
    "IDEC": IDEC(**TINY),
    "PCX": PCX(**TINY, burn_in_epochs=2),
    "PCX-imbalanced": PCX(
        **TINY, burn_in_epochs=2, imbalanced=True, pretraining="end-to-end"
    ),
    "PCX-after-step": PCX(
        **TINY, burn_in_epochs=2, centroid_update="after-step", decay_by_size=True
    ),
    "VaDE": VaDE(**TINY),
    "VaDE-end-to-end": VaDE(**TINY, pretraining="end-to-end"),
    "DiscriminativeClustering": DiscriminativeClustering(**TINY),
    "Autoencoder": Autoencoder(
        latent_dim=2, hidden_layer_sizes=(8,), max_epochs=5, random_state=0
    ),
    "Autoencoder-linear": Autoencoder(
        latent_dim=1, hidden_layer_sizes=(), max_epochs=5, random_state=0
    ),
    "Autoencoder-denoising": Autoencoder(
        latent_dim=2,
        hidden_layer_sizes=(8,),
        noise_std=0.1,
        max_epochs=5,
        random_state=0,
    ),
    "TensorizedAutoencoder-exact": TensorizedAutoencoder(
        n_clusters=3, n_init=2, random_state=0
    ),
    "TensorizedAutoencoder-posterior": TensorizedAutoencoder(
        n_clusters=3, assignment="posterior", n_init=2, max_epochs=30, random_state=0
    ),
    "TensorizedAutoencoder-linear-gradient": TensorizedAutoencoder(
        n_clusters=3, solver="gradient", max_epochs=5, random_state=0
    ),
    "TensorizedAutoencoder-mlp": TensorizedAutoencoder(
        n_clusters=3,
        latent_dim=2,
        hidden_layer_sizes=(8,),
        assignment="projected",
        pretrain_epochs=2,
        max_epochs=5,
        random_state=0,
    ),
    "TensorizedAutoencoder-constrained": TensorizedAutoencoder(
        n_clusters=3,
        latent_dim=2,
        hidden_layer_sizes=(8,),
        assignment="constrained",
        noise_std=0.1,
        pretrain_epochs=2,
        max_epochs=5,
        random_state=0,
    ),
    "SparseSubspaceClustering": SparseSubspaceClustering(
        n_clusters=3, latent_dim=2, random_state=0
    ),
    "SparseSubspaceClustering-l2": SparseSubspaceClustering(
        n_clusters=3,
        latent_dim=2,
        normalize=False,
        penalty="l2",
        affinity_mass=1.0,
        max_iter=5,
        random_state=0,
    ),
    "DeepTransformClustering": DeepTransformClustering(
        n_clusters=3, latent_dim=2, max_iter=5, random_state=0
    ),
    # Layers of 6 map a third of scikit-learn's blobs to zero, from where all subspaces
    # are equally far: the largest cluster would get them.
    "DeepTransformClustering-deep": DeepTransformClustering(
        n_clusters=3, n_layers=3, latent_dim=12, max_iter=5, random_state=0
    ),
    "DeepTransformClustering-kmeans": DeepTransformClustering(
        n_clusters=3, latent_dim=2, clustering="kmeans", max_iter=5, random_state=0
    ),
    "DeepTransformClustering-neighbors": DeepTransformClustering(
        n_clusters=3, latent_dim=3, penalty="neighbors", max_iter=5, random_state=0
    ),
    "DeepTransformClustering-kernel": DeepTransformClustering(
        n_clusters=3,
        latent_dim=3,
        kernel="rbf",
        n_landmarks=8,
        clustering="kmeans",
        max_iter=5,
        random_state=0,
    ),
    "DeepDictionaryClustering-kmeans": DeepDictionaryClustering(
        n_clusters=3, latent_dim=2, max_iter=5, random_state=0
    ),
    "DeepDictionaryClustering-subspace": DeepDictionaryClustering(
        n_clusters=3, latent_dim=5, clustering="subspace", max_iter=5, random_state=0
    ),
    "DeepSubspaceClustering": DeepSubspaceClustering(
        n_clusters=3,
        latent_dim=3,
        hidden_layer_sizes=(8,),
        pretrain_epochs=3,
        max_epochs=4,
        update_interval=2,
        random_state=0,
    ),
    "DeepSubspaceClustering-trained": DeepSubspaceClustering(
        n_clusters=3,
        latent_dim=3,
        hidden_layer_sizes=(8,),
        self_expression="trained",
        normalize=False,
        penalty="l2",
        pretrain_epochs=3,
        max_epochs=4,
        random_state=0,
    ),
    "ConvTransformClustering": ConvTransformClustering(
        n_clusters=3, latent_dim=2, pretrain_epochs=2, max_epochs=4, random_state=0
    ),
    "ConvTransformClustering-full": ConvTransformClustering(
        n_clusters=3,
        latent_dim=None,
        pooling=False,
        activation="identity",
        pretrain_epochs=2,
        max_epochs=4,
        random_state=0,
    ),
}

# What a user gets who types no argument.
DEFAULT = {
    "Autoencoder()": Autoencoder(),
    "DCN()": DCN(),
    "DDC()": DDC(),
    "DEC()": DEC(),
    "DEPICT()": DEPICT(),
    "DynAE()": DynAE(),
    "DKM()": DKM(),
    "IDEC()": IDEC(),
    "PCX()": PCX(),
    "DiscriminativeClustering()": DiscriminativeClustering(),
    "ConvTransformClustering()": ConvTransformClustering(),
    "DeepDictionaryClustering()": DeepDictionaryClustering(),
    "DeepSubspaceClustering()": DeepSubspaceClustering(),
    "DeepTransformClustering()": DeepTransformClustering(),
    "SparseSubspaceClustering()": SparseSubspaceClustering(),
    "TensorizedAutoencoder()": TensorizedAutoencoder(),
    "VaDE()": VaDE(),
}

# The same, as quick as the small ones: what has no network, or is of its family alone.
# Networks are as wide as 64. In a product of codes of 10 numbers with fewer columns the
# place of a row decides its last digit, and scikit-learn's check of the order of rows
# has a tolerance below that digit.
NEARLY_DEFAULT = {
    "DEC(hidden_layer_sizes)": DEC(
        hidden_layer_sizes=(64,), pretrain_epochs=2, max_epochs=3
    ),
    "DDC(hidden_layer_sizes)": DDC(hidden_layer_sizes=(64,), max_epochs=3),
    "PCX(hidden_layer_sizes)": PCX(
        hidden_layer_sizes=(64,), pretrain_epochs=2, max_epochs=3
    ),
    "DiscriminativeClustering(hidden_layer_sizes)": DiscriminativeClustering(
        hidden_layer_sizes=(64,), pretrain_epochs=2, max_epochs=3
    ),
    "DeepSubspaceClustering(hidden_layer_sizes)": DeepSubspaceClustering(
        hidden_layer_sizes=(64,), pretrain_epochs=2, max_epochs=3
    ),
    "SparseSubspaceClustering()": DEFAULT["SparseSubspaceClustering()"],
    "TensorizedAutoencoder()": DEFAULT["TensorizedAutoencoder()"],
}

# The first of each class, and those with a solver of their own; what the others have of
# their own is a setting.
ONE_OF_EACH = {type(e): name for name, e in reversed(SMALL.items())}.values()
OWN_SOLVERS = (
    "TensorizedAutoencoder-posterior",
    "TensorizedAutoencoder-linear-gradient",
    "DeepDictionaryClustering-subspace",
)
CHECKED = {name: SMALL[name] for name in SMALL if name in {*ONE_OF_EACH, *OWN_SOLVERS}}
VARIANTS = {name: e for name, e in SMALL.items() if name not in CHECKED}

CLUSTERERS = {name: e for name, e in SMALL.items() if hasattr(e, "n_clusters")}


def trains_by_gradient(estimator):
    """Whether an optimizer takes steps, and there is no closed form."""
    exact = getattr(estimator, "_uses_exact_solver", lambda: False)
    return "lr" in estimator.get_params() and not exact()


GRADIENT = {name: e for name, e in SMALL.items() if trains_by_gradient(e)}

"""Cluster and denoise two real data sets, and draw what came out.

Run as ``python -m benchmarks.demo``. The penguins are clustered by four body
measurements, handwritten digits by their pixels. Every method trains on 70 % of
the rows; every figure in the tables is about the other 30 %.
"""

import argparse
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.metrics import adjusted_rand_score, confusion_matrix
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

from benchmarks._estimators import CodesKMeans, KMeansDenoiser
from benchmarks._tables import markdown_table
from deepcluster_sk import IDEC, Autoencoder, TensorizedAutoencoder
from deepcluster_sk.datasets import load_penguins
from deepcluster_sk.metrics import clustering_accuracy
from deepcluster_sk.plotting import DenoisingDisplay, EmbeddingDisplay


class Reconstructing(IDEC):
    """IDEC, whose reconstruction of a noisy row is taken for the row without noise."""

    def denoise(self, X):
        """Encode and decode noisy rows."""
        return self.reconstruct(X)


class Problem:
    """Training rows, held-out rows with their classes, and noisy copies of these."""

    def __init__(self, X, y, noise_std, seed):
        self.train, self.test, _, self.y = train_test_split(
            X, y, test_size=0.3, random_state=seed
        )
        noise = np.random.default_rng(seed).normal(0, noise_std, self.test.shape)
        self.noisy = self.test + noise

    def error(self, denoised):
        """Mean squared error against the clean held-out rows."""
        return np.mean((denoised - self.test) ** 2)

    def row(self, name, model):
        """Fit a model and return its row of the table."""
        start = perf_counter()
        model.fit(self.train)
        seconds = perf_counter() - start
        labels = model.predict(self.test)
        return [
            name,
            f"{adjusted_rand_score(self.y, labels):.3f}",
            f"{clustering_accuracy(self.y, labels):.3f}",
            f"{self.error(model.denoise(self.noisy)):.5f}",
            f"{seconds:.2f}",
        ]

    def table(self, models):
        """Fit all models and return the table, the noise itself in the last row."""
        header = ["method", "ARI", "ACC", "denoising MSE", "fit, s"]
        rows = [self.row(name, model) for name, model in models.items()]
        rows.append(["(the noise itself)", "", "", f"{self.error(self.noisy):.5f}", ""])
        return markdown_table(header, rows)


def compared(n_clusters, latent_dim, noise_std, seed, hidden, epochs, deep):
    """The methods of both tables; the tensorized ones come last."""
    common = {"latent_dim": latent_dim, "noise_std": noise_std, "random_state": seed}
    short = {"lr": 3e-2, "max_epochs": epochs, "tol": 0}
    plain = {
        "linear autoencoder": {"hidden_layer_sizes": (), **short},
        f"autoencoder, hidden layer {hidden}": {"hidden_layer_sizes": (hidden,)}
        | short,
    }
    if deep:
        plain["autoencoder (default, deep)"] = {}
    tensorized = {
        f"tensorized autoencoder, hidden layer {hidden}": {
            "hidden_layer_sizes": (hidden,)
        },
        "tensorized autoencoder (default)": {},
    }
    return (
        {"k-means": KMeansDenoiser(n_clusters, n_init=10, random_state=seed)}
        | {
            f"{name} + k-means": CodesKMeans(
                n_clusters, Autoencoder(**settings, **common)
            )
            for name, settings in plain.items()
        }
        | {
            name: TensorizedAutoencoder(n_clusters, **settings, **common)
            for name, settings in tensorized.items()
        }
    )


def as_species(y, labels):
    """Rename clusters by the species they overlap most; for the picture's colours."""
    rows, columns = linear_sum_assignment(-confusion_matrix(y, labels))
    return rows[columns.argsort()][labels]


def draw_penguins(figure, penguins, scale, model):
    """True species above, found clusters and their directions below."""
    X, names = penguins.data, penguins.target_names
    labels = model.predict(X / scale)
    species = as_species(penguins.target, labels)
    axes = figure.subplots(2, 1, sharex=True, sharey=True)
    for ax, groups, title in (
        (axes[0], penguins.target, "Palmer penguins: the three species"),
        (axes[1], species, "Clusters of TensorizedAutoencoder, and their directions"),
    ):
        EmbeddingDisplay(X[:, :2], names[groups]).plot(ax=ax, legend=False)
        ax.set(xlabel="", ylabel="bill depth (mm)")
        ax.set_title(title, loc="left")
    axes[0].legend(loc="lower left")
    axes[1].set_xlabel("bill length (mm)")
    for j, center in enumerate(model.cluster_centers_):
        codes = model.transform(X / scale)[labels == j]
        ends = center + 2.2 * codes.std() * np.outer([-1, 1], model.components_[j, 0])
        ends = (ends * scale)[:, :2]
        axes[1].plot(*ends.T, color="white", linewidth=5, solid_capstyle="round")
        axes[1].plot(*ends.T, color="black", linewidth=2, solid_capstyle="round")


def draw_digits(figure, problem, denoiser, clusterer):
    """Held-out images: denoised above, a column for each cluster below."""
    above, below = figure.subfigures(2, 1, height_ratios=[3, 5.2], hspace=0.04)
    order = np.argsort(problem.y, kind="stable")
    shown = order[np.searchsorted(problem.y[order], np.arange(10))]
    denoised = denoiser.denoise(problem.noisy)
    above.suptitle("Held-out digits, denoised by TensorizedAutoencoder")
    axes = above.subplots(3, 10)
    display = DenoisingDisplay(
        problem.test[shown], problem.noisy[shown], denoised[shown], (1, 8, 8)
    )
    display.plot(axes=axes)
    for ax, label in zip(axes[:, 0], ("clean", "noisy", "denoised"), strict=True):
        ax.yaxis.label.set_text(label)
    labels = clusterer.predict(problem.test)
    below.suptitle("Clusters of held-out digits by IDEC, the first five of each")
    for k, column in enumerate(below.subplots(5, 10).T):
        members = np.flatnonzero(labels == k)
        column[0].set_title(f"{k}: {len(members)}", fontsize="medium")
        for ax in column:
            ax.set_axis_off()
        for ax, i in zip(column, members, strict=False):
            ax.imshow(problem.test[i].reshape(8, 8), cmap="gray")


def main():
    """Print the tables and save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="demo.png", help="where the picture goes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--deep", action="store_true", help="also the 500-500-2000 network (a minute)"
    )
    options = parser.parse_args()
    # Small networks are faster on one thread, and give the same figures everywhere.
    torch.set_num_threads(1)
    with threadpool_limits(1):
        demonstrate(options)


def demonstrate(options):
    """Fit everything on both data sets."""
    seed = options.seed

    penguins = load_penguins()
    scale = penguins.data.max(axis=0)
    X = penguins.data / scale
    # All penguins fit into one batch: an epoch is a single step.
    models = compared(3, 1, 0.05, seed, 16, 500, options.deep)
    print("Palmer penguins: 342 birds, 4 measurements, 3 species; noise 0.05\n")
    print(Problem(X, penguins.target, 0.05, seed).table(models), end="\n\n")
    clusters = models["tensorized autoencoder (default)"]

    X, y = load_digits(return_X_y=True)
    digits = Problem(X / 16, y, 0.3, seed)
    models = compared(10, 8, 0.3, seed, 32, 100, options.deep)
    models["IDEC (default)"] = Reconstructing(10, random_state=seed)
    print("Digits: 1,797 images of 8 x 8, 10 classes; noise 0.3\n")
    print(digits.table(models), end="\n\n")

    figure = plt.figure(figsize=(15, 7), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1, 1.75], wspace=0.03)
    draw_penguins(left, penguins, scale, clusters)
    denoiser = models["tensorized autoencoder (default)"]
    draw_digits(right, digits, denoiser, models["IDEC (default)"])
    figure.savefig(options.output, dpi=120)
    print(
        "Trained on 70 % of the rows; all figures are about the others. Labels were "
        f"used to score, never to fit or choose.\nPicture: {options.output}"
    )


if __name__ == "__main__":
    main()

"""The experiments of Esser et al. (2023): clusters, denoising and time.

``python -m benchmarks.tensorized``. Clusters are found on all rows and compared with
the classes (adjusted Rand index). Denoising is measured apart: the method trains on
70 % of the rows, with noise on its inputs, and the table shows the mean squared error
of the other rows, noise added and removed, against themselves. The seed decides the
split, the noise and every start. Classes score; they never fit or choose.
"""

from functools import partial
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

from benchmarks._estimators import CodesKMeans, KMeansDenoiser
from benchmarks._harness import (
    Benchmark,
    Job,
    group,
    results_table,
    shortfalls,
    spread,
    values,
)
from benchmarks._tables import markdown_table
from deepcluster_sk import Autoencoder, TensorizedAutoencoder, recipes
from deepcluster_sk.datasets import (
    load_mnist_test,
    load_penguins,
    make_lines_3d,
    make_orthogonal,
    make_parallel,
    make_triangle,
)

TAE = "TAE (default)"
KMEANS = "k-means"
NOISE = "(the noise itself)"
# Of the paper or its authors' code: training-set ARI; "denoising MSE" is the training
# loss there, so it is quoted beside, not compared.
PUBLISHED = {
    ("parallel", KMEANS, "ari"): ".266",
    ("orthogonal", KMEANS, "ari"): ".973",
    ("triangle", KMEANS, "ari"): ".848",
    ("lines 3D", KMEANS, "ari"): ".662",
    ("penguins, 4 features", KMEANS, "ari"): ".71-.72",
    ("penguins, 4 features", "linear AE h + k-means", "ari"): ".21",
    ("penguins, 4 features", TAE, "ari"): ".75",
    ("penguins, 4 features", "linear AE h + k-means", "mse"): ".0133 (training)",
    ("penguins, 4 features", TAE, "mse"): ".0026-.0031 (training)",
    ("iris, raw", KMEANS, "ari"): ".73",
}
GROWTH = (1, 2, 5, 10, 20)
REPORT = """\
# Tensorized autoencoder

Median (mean ± deviation) over the seeds. h is the width of the code, k the number of
clusters; a width before the dash is that of a hidden layer. \\* a setting chosen for
this data set; the default stands beside it. "TAE, mixture" is the algorithm of section
4, and what begins with "recipes." is as published. Published denoising errors are
training losses, and are quoted, not compared.

{table}

## Below the paper

Adjusted Rand indices, here medians over the seeds.

{below}

## Denoising ratios

Of the medians above: the default TAE against the linear autoencoder (PCA) of the same
code width, and against the noise itself.

{ratios}

## Time and the number of clusters

Milliseconds of one sweep over 8,985 rows (the digits five times; exact, h = 2), or of
one step of 256 rows (gradient, 64-64-10 networks). With k = 1 the exact solver ends
after one sweep, to which all that happens once is counted.

{growth}"""


class PCADenoiser(PCA):
    """The best linear autoencoder."""

    def denoise(self, X):
        """Project onto the principal components."""
        return self.inverse_transform(self.transform(X))


class Noise:
    """Leave the noise where it is."""

    def fit(self, X):
        """Learn nothing."""
        return self

    def denoise(self, X):
        """Return X."""
        return X


def data_sets(options):
    """Yield name, data, classes, code width, noise, image shape."""
    makers = {
        "parallel": make_parallel,
        "orthogonal": make_orthogonal,
        "triangle": make_triangle,
        "lines 3D": make_lines_3d,
    }
    for name, make in makers.items():
        yield name, *make(shuffle=False, random_state=0), 1, 0.1, None
    X, y = load_penguins(return_X_y=True)
    X = X / X.max(axis=0)
    yield "penguins, 2 features", X[:, :2], y, 1, 0.05, None
    yield "penguins, 4 features", X, y, 1, 0.05, None
    X, y = load_iris(return_X_y=True)
    yield "iris, raw", X, y, 1, 0.1, None
    yield "iris", X / X.max(axis=0), y, 1, 0.05, None
    yield "iris, h = 2", X / X.max(axis=0), y, 2, 0.05, None
    X, y = load_wine(return_X_y=True)
    yield "wine", scale(X), y, 2, 0.5, None
    if options.data_home:
        X, y = load_mnist_test(options.data_home, return_X_y=True)
        for n_each in (50,) if options.quick else (50, 200):
            rows = np.concatenate(
                [np.flatnonzero(y == c)[:n_each] for c in range(1, 6)]
            )
            name = f"MNIST 1-5, {n_each} each"
            yield name, X[rows] / 255.0, y[rows], 10, 0.3, (1, 28, 28)


def methods(name, n_features, k, h, noise_std, image_shape, seed):
    """The estimators to compare on a data set, unfitted."""
    common = {"noise_std": noise_std, "random_state": seed}
    short = {"lr": 1e-2, "max_epochs": 1000}
    wide = min(k * h, n_features)
    hidden = 64 if image_shape else 16

    def codes(model):
        return CodesKMeans(k, model, seed)

    plain = partial(Autoencoder, **common)
    tae = partial(TensorizedAutoencoder, k, latent_dim=h, **common)
    found = {
        NOISE: Noise(),
        KMEANS: KMeansDenoiser(k, n_init=10, random_state=seed),
        "PCA h + k-means": codes(PCADenoiser(h)),
        "PCA k h + k-means": codes(PCADenoiser(wide)),
        "linear AE h + k-means": codes(
            plain(latent_dim=h, hidden_layer_sizes=(), **short)
        ),
        f"AE {hidden}-h + k-means": codes(
            plain(latent_dim=h, hidden_layer_sizes=(hidden,), **short)
        ),
        f"AE {hidden}-kh + k-means": codes(
            plain(latent_dim=wide, hidden_layer_sizes=(hidden,), **short)
        ),
        "AE h (default) + k-means": codes(plain(latent_dim=h)),
        TAE: tae(),
        "TAE, penalty -0.1": tae(code_penalty=-0.1),
        f"TAE {hidden}-h": tae(hidden_layer_sizes=(hidden,)),
        "TAE, mixture": tae(assignment="posterior"),
        "recipes.tae_linear": recipes.tae_linear(k, latent_dim=h, **common),
        "recipes.tae_mlp": recipes.tae_mlp(k, latent_dim=h, **common),
    }
    if name == "wine":
        found["TAE, penalty -0.5 *"] = tae(code_penalty=-0.5)
    if image_shape:
        conv = {
            "architecture": "conv",
            "image_shape": image_shape,
            "hidden_layer_sizes": (4, 8),
        }
        found["conv AE h + k-means"] = codes(plain(latent_dim=h, lr=1e-2, **conv))
        found["conv TAE h"] = tae(**conv)
        found["recipes.tae_conv"] = recipes.tae_conv(k, image_shape, h, **common)
    return found


def evaluate(make_model, X, y, noise_std, seed):
    """Cluster all rows; denoise held-out rows."""
    model = make_model()
    start = perf_counter()
    model.fit(X)
    figures = {"seconds": perf_counter() - start}
    if hasattr(model, "labels_"):
        figures["ari"] = adjusted_rand_score(y, model.labels_)
    train, test = train_test_split(X, test_size=0.3, random_state=seed)
    noisy = test + np.random.default_rng(seed).normal(0, noise_std, test.shape)
    denoised = make_model().fit(train).denoise(noisy)
    return figures | {"mse": float(np.mean((denoised - test) ** 2))}


def time_exact(X, k, seed):
    """Milliseconds of a sweep of the exact solver."""
    X = np.tile(X, (5, 1))  # many rows, so that what is not a sweep is little
    model = TensorizedAutoencoder(
        k, latent_dim=2, code_penalty=-0.1, n_init=1, random_state=seed
    )
    start = perf_counter()
    model.fit(X)
    return {"step_ms": 1e3 * (perf_counter() - start) / model.n_iter_}


def time_gradient(X, k, seed):
    """Milliseconds of a step of the batched gradient solver: 20 epochs against 5."""
    seconds = []
    for epochs in (5, 5, 20):  # the first warms up
        model = TensorizedAutoencoder(
            k,
            latent_dim=10,
            hidden_layer_sizes=(64,),
            pretrain_epochs=0,
            max_epochs=epochs,
            tol=0,
            random_state=seed,
        )
        start = perf_counter()
        model.fit(X)
        seconds.append(perf_counter() - start)
    n_steps = 15 * -(-len(X) // model.batch_size)
    return {"step_ms": 1e3 * (seconds[2] - seconds[1]) / n_steps}


def jobs(options):
    """Every method on every data set and seed, then the growth with k."""
    for name, X, y, h, noise_std, image_shape in data_sets(options):
        k = len(np.unique(y))
        for seed in options.seeds:
            make = partial(
                methods, name, X.shape[1], k, h, noise_std, image_shape, seed
            )
            for method in make():
                model = partial(lambda make, method: make()[method], make, method)
                run = partial(evaluate, model, X, y, noise_std, seed)
                yield Job(name, method, seed, run, {"noise": noise_std})
    X = load_digits().data / 16
    for k in GROWTH:
        for seed in options.seeds:
            settings = {"k": k}
            yield Job("time", "exact", seed, partial(time_exact, X, k, seed), settings)
            run = partial(time_gradient, X, k, seed)
            yield Job("time", "gradient 64-10", seed, run, settings)


def report(records, options):
    """Tables and figures."""
    timed = [record for record in records if record["data"] == "time"]
    scored = [record for record in records if record["data"] != "time"]
    draw_scores(scored, options.figure())
    draw_growth(timed, options.figure("-growth"))
    metrics = {"ari": "ARI", "mse": "denoising MSE", "seconds": "fit, s"}
    return REPORT.format(
        table=results_table(scored, metrics, PUBLISHED, {"mse": 5, "seconds": 2}),
        ratios=ratios(scored),
        growth=growth_table(timed),
        below=shortfalls(scored, PUBLISHED, "ari"),
    )


def medians(records, metric):
    """Median of a metric by (data, method)."""
    return {
        key: float(np.median(values(members, metric)))
        for key, members in group(records, "data", "method").items()
        if len(values(members, metric))
    }


def ratios(records):
    """TAE's denoising error relative to PCA's and to the noise."""
    mse = medians(records, "mse")
    rows = [
        [
            data,
            f"{mse[data, TAE] / mse[data, 'PCA h + k-means']:.2f}",
            f"{mse[data, TAE] / mse[data, NOISE]:.2f}",
        ]
        for (data,) in group(records, "data")
        if all((data, name) in mse for name in (TAE, "PCA h + k-means", NOISE))
    ]
    return markdown_table(["data", "TAE / PCA", "TAE / noise"], rows)


def steps(records):
    """Median milliseconds by method, in the order of GROWTH."""
    found = {}
    for record in records:
        key = record["method"], record["settings"]["k"]
        found.setdefault(key, []).append(record["result"]["step_ms"])
    return found


def growth_table(records):
    """Milliseconds a step, a row a solver and a column a k."""
    found = steps(records)
    rows = [
        [method, *(spread(np.array(found.get((method, k), [])), 2) for k in GROWTH)]
        for (method,) in group(records, "method")
    ]
    return markdown_table(["solver", *(f"k = {k}" for k in GROWTH)], rows)


def draw_scores(records, path):
    """One panel a metric: data sets down, a marker a method."""
    shown = {
        KMEANS: ("#94a4a2", "s"),
        "PCA h + k-means": ("#3f90da", "v"),
        "AE h (default) + k-means": ("#832db6", "D"),
        TAE: ("#bd1f01", "o"),
        NOISE: ("black", "|"),
    }
    names = [name for (name,) in group(records, "data")]
    height = 0.4 * len(names) + 1.2
    figure, axes = plt.subplots(
        1, 2, figsize=(10, height), sharey=True, layout="constrained"
    )
    ari, mse = medians(records, "ari"), medians(records, "mse")
    relative = {key: value / mse[key[0], NOISE] for key, value in mse.items()}
    for ax, table, label in (
        (axes[0], ari, "adjusted Rand index (right is better)"),
        (axes[1], relative, "held-out MSE / that of the noise (left is better)"),
    ):
        for method, (color, marker) in shown.items():
            found = [
                (table[name, method], i)
                for i, name in enumerate(names)
                if (name, method) in table
            ]
            x, y = np.array(found).reshape(-1, 2).T
            ax.scatter(x, y, s=45, color=color, marker=marker, label=method, zorder=3)
        ax.set_xlabel(label)
        ax.grid(axis="y", color="0.9")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    axes[1].set_xscale("log")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_growth(records, path):
    """Time a step against k, both axes logarithmic, with the line of proportion."""
    found = steps(records)
    figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
    for (method,), color in zip(
        group(records, "method"), ("#bd1f01", "#3f90da"), strict=False
    ):
        y = [np.median(found[method, k]) for k in GROWTH if (method, k) in found]
        x = [k for k in GROWTH if (method, k) in found]
        ax.plot(x, y, "o-", color=color, label=method)
        ax.plot(x, y[0] * np.array(x) / x[0], ":", color=color, linewidth=1)
    ax.plot([], [], ":", color="black", linewidth=1, label="proportional to k")
    ax.set(xscale="log", yscale="log", xlabel="number of clusters k")
    ax.set_ylabel("milliseconds a step or sweep")
    ax.set_xticks(GROWTH, GROWTH, minor=False)
    ax.minorticks_off()
    ax.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


BENCHMARK = Benchmark("tensorized", jobs, report)

if __name__ == "__main__":
    raise SystemExit(BENCHMARK.main())

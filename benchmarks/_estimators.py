"""Small baselines that the demo and the benchmarks compare with."""

from sklearn.cluster import KMeans


class KMeansDenoiser(KMeans):
    """k-means, which can denoise too: a row becomes its nearest centre."""

    def denoise(self, X):
        """Nearest centre of each row."""
        return self.cluster_centers_[self.predict(X)]


class CodesKMeans:
    """An autoencoder of centred rows, then k-means on its codes.

    Centring spares the autoencoder the slow learning of the mean, which the
    tensorized one has as its centres.

    Parameters
    ----------
    n_clusters : int
    autoencoder : estimator
        With ``transform`` and ``denoise``.
    seed : int, default=0
    """

    def __init__(self, n_clusters, autoencoder, seed=0):
        self.kmeans = KMeans(n_clusters, n_init=10, random_state=seed)
        self.autoencoder = autoencoder

    def fit(self, X):
        """Train the one, then the other."""
        self.mean_ = X.mean(axis=0)
        self.kmeans.fit(self.autoencoder.fit_transform(X - self.mean_))
        self.labels_ = self.kmeans.labels_
        return self

    def predict(self, X):
        """Cluster of each row's code."""
        return self.kmeans.predict(self.autoencoder.transform(X - self.mean_))

    def denoise(self, X):
        """Reconstruct noisy rows."""
        return self.autoencoder.denoise(X - self.mean_) + self.mean_

"""Layers of filters with a penalty on their determinant, and the centres of codes."""

import torch
from torch import nn

ACTIVATIONS = {"identity": nn.Identity, "selu": nn.SELU}


class ConvTransform(nn.Module):
    """Layers of filters, with or without pooling and projection; and the k centres.

    Rows with more features than an image of this shape has are first taken to as many
    ``directions``.

    Parameters
    ----------
    n_features : int
    latent_dim : int or None
        Width of the fixed projection of the last feature maps; None takes the maps.
    n_clusters : int
    filters : sequence of int
        Number of filters of each convolutional layer.
    kernel_size : int
        Side of a filter; odd.
    pooling : bool
        Whether each layer halves its feature maps, by their maxima.
    activation : {"identity", "selu"}
        Of each layer.
    image_shape : tuple (C, H, W)
    sparsity_weight, kmeans_weight : float
        Weights of the terms of a code.
    """

    def __init__(
        self,
        n_features,
        latent_dim,
        n_clusters,
        filters,
        kernel_size,
        pooling,
        activation,
        image_shape,
        sparsity_weight,
        kmeans_weight,
    ):
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.sparsity_weight, self.kmeans_weight = sparsity_weight, kmeans_weight
        self.pooling, self.activation = pooling, ACTIVATIONS[activation]()
        channels, height, width = self.image_shape
        n_inputs = channels * height * width
        wide = torch.zeros(n_inputs, n_features) if n_inputs < n_features else None
        self.register_buffer("directions", wide)
        self.convolutions = nn.ModuleList()
        for n_filters in filters:
            # A series is an image of height 1, and its filters are too.
            kernel = tuple(kernel_size if s > 1 else 1 for s in (height, width))
            self.convolutions.append(
                nn.Conv2d(channels, n_filters, kernel, padding="same", bias=False)
            )
            channels = n_filters
            if pooling:
                height, width = -(-height // 2), -(-width // 2)
        n_outputs = channels * height * width
        projected = latent_dim is not None
        projection = torch.zeros(latent_dim, n_outputs) if projected else None
        self.register_buffer("projection", projection)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        n_codes = latent_dim if projected else n_outputs
        self.register_buffer("centers", torch.zeros(n_clusters, n_codes))

    def encode(self, x):
        """Feature maps of each row, or their projection."""
        features = self.features(x)
        return features if self.projection is None else features @ self.projection.T

    def standardized(self, x):
        """Rows in the units of the first layer."""
        return (x - self.mean) / self.scale

    @torch.no_grad()
    def pair_filters(self):
        """Let the first filters be each channel, and each with the opposite sign.

        SELU bends what is negative, so that one filter alone would lose it. Of a pair
        one value is always positive.
        """
        for layer in self.convolutions[:1]:
            n_filters, n_channels = layer.weight.shape[:2]
            pairs = torch.kron(torch.tensor([[1.0], [-1.0]]), torch.eye(n_channels))
            layer.weight[: 2 * n_channels] = pairs[:n_filters, :, None, None]

    def features(self, x):
        """Flattened outputs of the last layer of filters."""
        x = self.standardized(x)
        if self.directions is not None:
            x = x @ self.directions.T
        x = x.unflatten(-1, self.image_shape)
        for convolution in self.convolutions:
            x = self.activation(convolution(x))
            if self.pooling:
                halves = tuple(min(side, 2) for side in x.shape[-2:])
                x = nn.functional.max_pool2d(x, halves, ceil_mode=True)
        return x.flatten(1)

    def forward(self, x):
        """Embedding of a batch of rows."""
        return self.encode(x)

    def penalty(self):
        """``sum_l ||T_l||² - log det T_l``, over singular values, one filter a row."""
        filters = (layer.weight.flatten(1) for layer in self.convolutions)
        return sum(transform_penalty(T) for T in filters)

    def code_values(self, embedding):
        """Lowest value of the terms of a code, for every cluster, (n, k).

        With r = (e + w c) / (1 + w), w the weight of k-means, they are
        ``(1 + w) ||z - r||² + w / (1 + w) ||e - c||² + s ||z||_1``: soft thresholding.
        """
        # One by one: codes as wide as feature maps are too many for all at once.
        values = [self._code_values(embedding, center) for center in self.centers]
        return torch.stack(values, dim=1)

    def distances(self, embedding):
        """Squared distance of the best code without k-means to each centre, (n, k).

        That is the slope of ``code_values`` as the weight of k-means falls to zero.
        """
        z = nn.functional.softshrink(embedding, self.sparsity_weight / 2)
        return torch.stack([(z - c).square().sum(-1) for c in self.centers], dim=1)

    def _code_values(self, embedding, center):
        w, s = self.kmeans_weight, self.sparsity_weight
        apart = w / (1 + w) * (embedding - center).square().sum(-1)
        r = (embedding + w * center) / (1 + w)
        z = nn.functional.softshrink(r, s / (2 * (1 + w)))
        return (1 + w) * (z - r).square().sum(-1) + s * z.abs().sum(-1) + apart


def transform_penalty(T):
    """``||T||² - log det T``, the determinant being that of the singular values."""
    gram = T @ T.T if T.shape[0] <= T.shape[1] else T.T @ T
    return T.square().sum() - 0.5 * torch.linalg.slogdet(gram).logabsdet

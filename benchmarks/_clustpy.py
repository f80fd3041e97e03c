"""ClustPy's methods, with the network, the epochs and the batches of this library.

ClustPy imports torchvision, whose compiled operators must fit torch. Where they do not
(a torch built for another device), torchvision is imported without them: ClustPy's
methods on vectors use none.
"""

import io
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import torch

METHODS = ("DEC", "IDEC", "DCN", "DKM", "VaDE")
OPERATORS = ("nms", "qnms")


def is_installed():
    """Whether ClustPy can be imported."""
    return find_spec("clustpy") is not None and find_spec("torchvision") is not None


@cache
def _torchvision_operators():
    """Declare what torchvision registers at import, if its own code cannot."""
    try:
        import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in OPERATORS:
            library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
        return library  # what it declares goes with it
    return None


def make(method, n_clusters, n_features, hidden_layer_sizes, **settings):
    """An estimator of ClustPy, with its defaults but for what is given.

    Parameters
    ----------
    method : {"DEC", "IDEC", "DCN", "DKM", "VaDE"}
    n_clusters, n_features : int
    hidden_layer_sizes : tuple of int
    **settings : dict
        Of this library: latent_dim, pretrain_epochs, max_epochs, batch_size and
        random_state; device, "cpu" by default; and unit_interval, whether all values
        are in [0, 1], as VaDE takes for granted by default. Where they are not, it
        gets the squared error that its own message names, and a linear output.

    Returns
    -------
    estimator
        Fits silently.
    """
    _torchvision_operators()
    from clustpy import deep
    from clustpy.deep.neural_networks import FeedforwardAutoencoder
    from clustpy.deep.vade import _VaDE_VAE

    layers = [n_features, *hidden_layer_sizes, settings["latent_dim"]]
    kind, network, loss = FeedforwardAutoencoder, {"layers": layers}, {}
    if method == "VaDE":
        kind = _VaDE_VAE
        if not settings.get("unit_interval", True):
            network["decoder_output_fn"] = None
            loss = {"ssl_loss_fn": torch.nn.MSELoss(reduction="sum")}
    return Silent(
        getattr(deep, method)(
            n_clusters,
            batch_size=settings["batch_size"],
            pretrain_epochs=settings["pretrain_epochs"],
            clustering_epochs=settings["max_epochs"],
            neural_network=(kind, network),
            embedding_size=layers[-1],
            device=torch.device(settings.get("device", "cpu")),
            random_state=settings["random_state"],
            **loss,
        )
    )


class Silent:
    """A clusterer that writes nothing.

    Parameters
    ----------
    model : estimator
    """

    def __init__(self, model):
        self.model = model

    def fit(self, X):
        """Fit without progress bars and messages."""
        with _silence():
            self.model.fit(X)
        self.labels_ = self.model.labels_
        return self

    def fit_predict(self, X):
        """Labels of the training data."""
        return self.fit(X).labels_

    def predict(self, X):
        """Labels of rows."""
        with _silence():
            return self.model.predict(X)


@contextmanager
def _silence():
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield

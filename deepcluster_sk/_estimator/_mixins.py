"""Abilities that some estimators have: to reconstruct, to assign softly, to count."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import check_array, metadata_routing
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from deepcluster_sk._estimator._base import index_of_smallest
from deepcluster_sk._estimator._validation import conversion
from deepcluster_sk._threads import threads_for
from deepcluster_sk._training import _distributed as distributed
from deepcluster_sk.initialization import START_ROWS, count_clusters

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class ReconstructionMixin:
    """``reconstruct`` and ``score_samples``, for estimators with a decoder.

    By default a row is encoded and decoded by the module; a method may define
    ``_reconstruct(module, x)``, ``(n, d) -> (n, d)``, in another way.

    Examples
    --------
    >>> from deepcluster_sk import TensorizedAutoencoder
    >>> model = TensorizedAutoencoder(1, random_state=0).fit([[0.0, 0.0], [1.0, 1.0]])
    >>> model.reconstruct([[2.0, 2.0]]).shape
    (1, 2)
    """

    def reconstruct(self, X: ArrayLike) -> NDArray[np.float32]:
        """Encode and decode the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        reconstruction : ndarray of shape (n_samples, n_features), float32
            In the units of X.
        """
        return self._map("reconstruct", X)

    def _reconstruct(self, module, x):
        return module.decode(module.encode(x))

    def score_samples(self, X: ArrayLike) -> NDArray[np.float32]:
        """Minus the reconstruction error of each row: low values are anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        scores : ndarray of shape (n_samples,), float32
            Minus the squared error, averaged over the features.
        """
        return self._map("row_score", X)

    def _row_score(self, module, x):
        return -(x - self._reconstruct(module, x)).square().mean(-1)


class DecoderMixin(ReconstructionMixin):
    """``inverse_transform`` too, for estimators with one decoder of all codes.

    Examples
    --------
    >>> from deepcluster_sk import Autoencoder
    >>> model = Autoencoder(latent_dim=1, hidden_layer_sizes=(), max_epochs=2)
    >>> model.fit([[0.0, 0.0], [1.0, 1.0]]).inverse_transform([[0.5]]).shape
    (1, 2)
    """

    # The codes are data, not metadata to be routed.
    __metadata_request__inverse_transform: ClassVar[dict] = {
        "Z": metadata_routing.UNUSED
    }

    def inverse_transform(self, Z: ArrayLike) -> NDArray[np.float32]:
        """Decode codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, latent_dim)
            Codes, as ``transform`` returns them.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float32
            The rows that the decoder makes of them.
        """
        check_is_fitted(self)
        if isinstance(Z, torch.Tensor):
            Z = Z.detach().cpu()
        with conversion(Z, "Z"):
            Z = check_array(Z, dtype="float32", order="C", input_name="Z")
        if Z.shape[1] != self.latent_dim:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but {type(self).__name__} makes codes of "
                f"latent_dim={self.latent_dim}."
            )
        with threads_for(self._chunk_work(self.net_)):
            return self._checked(self.net_.apply(self.module_.decode, Z), "Z")


class SoftAssignmentMixin:
    """``predict_proba``, for clusterers with soft assignments.

    By default ``module(x).assignment``; a method may define
    ``_soft_assign(module, x)``, ``(n, d) -> (n, k)``, in another way. The label of a
    row is the cluster of its largest entry.

    Examples
    --------
    >>> from deepcluster_sk import DEC
    >>> model = DEC(2, latent_dim=1, hidden_layer_sizes=(8,), random_state=0)
    >>> model.fit([[0.0], [1.0], [8.0], [9.0]]).predict_proba([[0.5]]).shape
    (1, 2)
    """

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Assign the rows of X to clusters softly.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New data, or the training data.

        Returns
        -------
        assignment : ndarray of shape (n_samples, n_clusters), float32
            Rows sum to 1; ``predict`` returns the position of the largest entry.
        """
        if issparse(X):
            raise TypeError(
                f"Sparse data was passed, but predict_proba of {type(self).__name__} "
                "takes dense rows: pass X.toarray(), in parts where X is large."
            )
        return self._map("soft_assign", X)

    def _soft_assign(self, module, x):
        return module(x).assignment

    def _assign(self, module, x):
        return index_of_smallest(-self._soft_assign(module, x))


class AutoClustersMixin:
    """``n_clusters="auto"``, with ``max_clusters`` and ``n_neighbors``.

    The number is found before the network is built, which then has as many centres.
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_clusters": [
            Interval(numbers.Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "max_clusters": [Interval(numbers.Integral, 1, None, closed="left")],
    }

    def _count_clusters(self, rows, seed):
        random_state = np.random.RandomState(seed)
        order = torch.from_numpy(random_state.permutation(len(rows)))
        some = rows[order[:START_ROWS].sort().values]
        found = count_clusters(
            some,
            self.n_neighbors,
            self.max_clusters,
            random_state,
            self._verbosity(),
        )
        return distributed.from_first_process(found)

"""Writing a fitted network, with how it assigns rows, in the ONNX format."""

from __future__ import annotations

import copy
import os
import secrets
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from deepcluster_sk._estimator._network_base import BaseDeepEstimator

# Operators of that version are known to what was released in the last years.
OPSET = 18
# Rows that are traced: another number than a width or a number of clusters.
TRACED_ROWS = 7


class _Prediction(torch.nn.Module):
    """Labels, embedding and probabilities of rows, as far as an estimator has them."""

    def __init__(self, estimator: BaseDeepEstimator, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module
        self.hooks = {"label": "_assign", "embedding": "_embed"}
        if hasattr(estimator, "predict_proba"):
            self.hooks["probabilities"] = "_soft_assign"
        self.calls = {
            name: getattr(estimator, hook)
            for name, hook in self.hooks.items()
            if hasattr(estimator, hook)
        }

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(call(self.module, x) for call in self.calls.values())


def write_onnx(estimator: BaseDeepEstimator, path: str | os.PathLike[str]) -> None:
    """Write a fitted network; ``estimator.to_onnx`` for all of them.

    Parameters
    ----------
    estimator : BaseDeepEstimator
    path : str or path-like
    """
    name = type(estimator).__name__
    if estimator._precision() != "float32":
        raise ValueError(
            f"{name} with precision={estimator._precision()!r} cannot be exported: "
            "what it computes depends on the processor. Fit with precision='float32'."
        )
    try:
        import onnx  # noqa: F401  # which torch imports only once all is done
    except ImportError as error:
        raise ImportError(
            f"to_onnx of {name} needs the package onnx: pip install "
            "'deepcluster_sk[onnx]'."
        ) from error
    module = copy.deepcopy(estimator.module_).cpu().eval()
    for part in module.modules():
        if hasattr(part, "prepare_export"):
            part.prepare_export()
    prediction = _Prediction(estimator, module).eval()
    rows = torch.zeros(TRACED_ROWS, estimator.n_features_in_)
    outputs = list(prediction.calls)
    path = Path(path)
    # In the same folder: only within a file system is a replacement one step.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _export(prediction, rows, temporary, outputs)
        os.replace(temporary, path)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        raise ValueError(
            f"The network of this {name} has a step that ONNX, or torch's exporter, "
            f"does not know: {error}"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _export(
    prediction: _Prediction, rows: torch.Tensor, path: Path, outputs: list[str]
) -> None:
    options: dict[str, Any] = {
        "input_names": ["X"],
        "output_names": outputs,
        "dynamic_axes": {name: {0: "n_samples"} for name in ("X", *outputs)},
        "opset_version": OPSET,
    }
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter by tracing is to be removed one day. The one that replaces it
        # does not know all steps of these networks yet, and takes fifty times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(prediction, (rows,), path, dynamo=False, **options)

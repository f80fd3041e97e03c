"""Criteria that several methods share: what is minimised."""

from deepcluster_sk.criteria._base import CombinedCriterion, Criterion
from deepcluster_sk.criteria._code_target import CodeTarget
from deepcluster_sk.criteria._companions import (
    COMPANION_CONSTRAINTS,
    Companion,
    check_blocks,
    companion_of,
)
from deepcluster_sk.criteria._label_memory import LabelMemory
from deepcluster_sk.criteria._label_target import LabelTarget
from deepcluster_sk.criteria._reconstruction import (
    DenoisingStage,
    Reconstruction,
    RelativeReconstruction,
    SquaredError,
    drop_values,
    kept_values,
)
from deepcluster_sk.criteria._self_expression import (
    SolvedSelfExpression,
    TrainedSelfExpression,
)

__all__ = [
    "COMPANION_CONSTRAINTS",
    "CodeTarget",
    "CombinedCriterion",
    "Companion",
    "Criterion",
    "DenoisingStage",
    "LabelMemory",
    "LabelTarget",
    "Reconstruction",
    "RelativeReconstruction",
    "SolvedSelfExpression",
    "SquaredError",
    "TrainedSelfExpression",
    "check_blocks",
    "companion_of",
    "drop_values",
    "kept_values",
]

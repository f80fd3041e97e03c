"""scikit-learn's decorators, with the types that it does not tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["available_if", "fit_context", "validate_params"]

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

    def available_if(check: Callable[[Any], bool]) -> Callable[[F], F]:
        """Offer a method only where a check of the object says so."""

    def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[F], F]:
        """Validate parameters before a method that fits."""

    def validate_params(
        constraints: dict[str, Any], *, prefer_skip_nested_validation: bool
    ) -> Callable[[F], F]:
        """Validate the arguments of a function."""

else:
    from sklearn.base import _fit_context as fit_context
    from sklearn.utils._param_validation import validate_params
    from sklearn.utils.metaestimators import available_if

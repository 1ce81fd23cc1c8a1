"""Types of numbers and sections of a configuration: valid values, in the canonical form that is hashed."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""Options of the sections of a configuration."""


def _no_bool(value: Any) -> Any:
    """Return the value unless it is true or false, which Python counts as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


NUMBER = BeforeValidator(_no_bool)
"""Refuses true and false."""
_ONE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 would have another fingerprint

Finite = Annotated[float, NUMBER, Field(allow_inf_nan=False), _ONE_ZERO]
NonNegative = Annotated[float, NUMBER, Field(ge=0, allow_inf_nan=False), _ONE_ZERO]
Positive = Annotated[float, NUMBER, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, NUMBER, Field(ge=0, le=1, allow_inf_nan=False), _ONE_ZERO]
Count = Annotated[int, NUMBER, Field(ge=1)]
CountOrZero = Annotated[int, NUMBER, Field(ge=0)]

MapMethod = Literal["pca", "umap"]
"""Projection of latents to two dimensions: principal components, or UMAP (McInnes et al., 2018)."""

SMALLEST_SHARE = 1e-12
"""Smallest share of the sum; a smaller one is treated as a mistake."""


def _shares(given: tuple[float, ...]) -> tuple[float, ...]:
    """Normalize positive numbers to sum to one, rounded so that normalizing again changes nothing."""
    largest = max(given, default=1.0)
    relative = [each / largest for each in given]  # their sum is finite
    total = math.fsum(relative)
    if given and abs(total * largest - 1) > 1e-9:
        given = tuple(each / total for each in relative)
    if min(given, default=1.0) < SMALLEST_SHARE:
        raise ValueError(f"no share may be below {SMALLEST_SHARE:g} of the sum")
    return tuple(float(f"{each:.12g}") for each in given)


Shares = Annotated[tuple[Positive, ...], AfterValidator(_shares)]

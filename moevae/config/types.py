"""Types of numbers and sections of a configuration: valid values, in the canonical form that is hashed."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""Options of the sections of a configuration."""

_ONE_ZERO = AfterValidator(lambda value: value + 0.0)  # -0.0 would have another fingerprint

Finite = Annotated[float, Field(allow_inf_nan=False), _ONE_ZERO]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), _ONE_ZERO]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), _ONE_ZERO]
Count = Annotated[int, Field(ge=1)]

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

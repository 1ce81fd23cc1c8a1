"""Consensus of several clusterings: soft voting after an alignment of their clusters.

The clusters of each run are matched with those of a reference run, and the probabilities are averaged. No
labels are used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment


def consensus(probs: Sequence[np.ndarray], reference: int = 0) -> np.ndarray:
    """Return the mean probabilities of the clusters after an alignment with those of one run.

    The clusters of a run are matched one-to-one with those of the reference so that the expected number of
    images on which the two agree is highest (Hungarian method).

    Args:
        probs: q(k|x) of each run for the same images, [K, N] each.
        reference: index of the run whose clusters the others are matched with.

    Returns:
        Mean probabilities, in the order of the reference's clusters, [K, N].

    Raises:
        ValueError: there are no runs, or their shapes differ.

    References:
        Dimitriadou, Weingessel, Hornik (2002), a combination scheme for fuzzy clustering.

    Examples:
        >>> import numpy as np
        >>> first = np.array([[0.9, 0.8, 0.2], [0.1, 0.2, 0.8]])
        >>> consensus([first, first[::-1]]).tolist() == first.tolist()
        True
    """
    shapes = {each.shape for each in probs}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"probabilities of shapes {sorted(shapes)}; expected one shape, [K, N]")
    base = probs[reference]
    total = np.zeros(base.shape)
    for each in probs:
        _, matched = linear_sum_assignment(base.astype(float) @ each.T, maximize=True)
        total += each[matched]
    return total / len(probs)

"""Adding columns of numbers to margins, compiled by numba.

Belongs here: that one loop. Does not: what is added (`terms.py`, which alone imports this, and only when it is told to
compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np

from churn_pipeline.kernel.forests.compiled import kept


@kept
def add_scaled(found, slope, most, margin):
    """Add `slope * found` to margins in one pass, and say whether no number is greater than `most`, whatever its sign.

    Args:
        found: (n) doubles or whole numbers of 64 bits.
        margin: (n) doubles.
    """
    greater = np.uint8(0)
    for i in range(len(found)):
        value = np.float64(found[i])
        margin[i] += value * slope
        greater |= np.uint8(abs(value) > most)
    return greater == 0

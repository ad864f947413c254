"""From continuous columns to codes, compiled by numba.

Belongs here: that one loop. Does not: what builds its arrays (`codes.py`, which alone imports this, and only when it
is told to compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np

from churn_pipeline.kernel.forests.compiled import kept


@kept
def interval_codes(found, breaks, starts, out):
    """How many breaks lie below each number; one more than there are breaks, and one, where it is missing.

    Args:
        found: (n) doubles, NaN for missing.
        breaks: ascending.
        starts: (2 ** 18) how many breaks lie below every number whose rank among doubles begins with these 18 bits.
        out: (n) uint16.
    """
    bits = found.view(np.uint64)
    sign = np.uint64(1) << np.uint64(63)
    last = len(breaks)
    for i in range(len(found)):
        value = found[i]
        if value != value:
            out[i] = last + 1
            continue
        rank = ~bits[i] if bits[i] & sign else bits[i] | sign
        code = np.int64(starts[rank >> np.uint64(46)])
        while code < last and breaks[code] < value:
            code += 1
        out[i] = code

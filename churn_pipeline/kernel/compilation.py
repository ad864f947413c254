"""Whether loops can be compiled here.

Belongs here: the question, which costs no import. Does not: the loops (`compiled.py`).
"""

import importlib.util


def available() -> bool:
    """Whether numba, the extra `fast`, is installed."""
    return importlib.util.find_spec("numba") is not None

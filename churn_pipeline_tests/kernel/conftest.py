"""What all tests of the kernel share."""

import numpy as np
import pytest


@pytest.fixture(scope="module", autouse=True)
def tables_always_pay():
    """Whether tables beside which real code runs are faster is timed: here a busy machine shall not decide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("churn_pipeline.kernel.plan._WORTH", np.inf)
        patch.setattr("churn_pipeline.kernel.plan._TIMED", 1_000)
        yield

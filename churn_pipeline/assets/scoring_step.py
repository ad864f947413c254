"""What a run asks of the step that scores, for the steps before it.

Belongs here: its name, and its configuration as the run has it. Does not: the step (`predictions.py`).
"""

from collections.abc import Mapping
from typing import Any

SCORING_STEP = "score_customers_of_batch"


def scoring_config(run_config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration of the step that scores, from that of the whole run."""
    config: Mapping[str, Any] = run_config.get("ops", {}).get(SCORING_STEP, {}).get("config", {})
    return config


def reasons_asked(run_config: Mapping[str, Any], default: int) -> int:
    """How many reasons a run will put on a row.

    The model is resolved by another step than the one that scores, and must not be read past if it has no reasons.
    """
    given = scoring_config(run_config).get("reasons")
    return default if given is None else int(given)

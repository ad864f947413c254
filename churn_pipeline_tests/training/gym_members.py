"""A small contract that is not Telco's, and members of a gym who keep it."""

import numpy as np
import pyarrow as pa

from churn_pipeline.contract.definition import Contract

GYM = Contract.model_validate(
    {
        "name": "gym",
        "description": "Members of a gym.",
        "id": {"column": "member", "description": "Names the member."},
        "label": {"column": "left", "positive": "Yes", "negative": "No", "description": "Whether the member left."},
        "features": {
            "fee": {"type": "number", "description": "Euro a month."},
            "visits": {"type": "integer", "description": "Last month.", "nullable": True},
            "plan": {"type": "category", "allowed": ["day", "month", "year"], "description": "How it is paid."},
            "coached": {"type": "boolean", "description": "Has a coach.", "nullable": True},
            "city": {"type": "text", "description": "Where.", "nullable": True},
        },
    }
)


def members(rows: int = 400, seed: int = 0) -> pa.Table:
    """Members with missing values, who leave the more the less they visit."""
    random = np.random.default_rng(seed)
    visits = random.integers(0, 20, rows)
    plan = random.choice(["day", "month", "year"], rows, p=[0.5, 0.3, 0.2])
    left = random.random(rows) < 1 / (1 + np.exp(visits / 3 - 2 + (plan == "year")))
    return pa.table(
        {
            "member": [f"m{i}" for i in range(rows)],
            "fee": random.uniform(10, 90, rows).round(2),
            "visits": pa.array(np.where(random.random(rows) < 0.05, None, visits), pa.int64()),
            "plan": pa.array(plan, pa.string()).dictionary_encode(),
            "coached": pa.array(random.choice([True, False, None], rows, p=[0.4, 0.5, 0.1]), pa.bool_()),
            "city": pa.array(random.choice([*"abcdefgh", None], rows), pa.string()),
            "churned": left,
        }
    )

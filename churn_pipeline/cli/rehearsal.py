"""Reading a batch as a run would, to count and to write nothing.

Belongs here: the pass over the data that `plan` and `contract check` make. Does not: judging rows (`contract/`).
"""

from dataclasses import dataclass

from churn_pipeline.assets.reading import Reading
from churn_pipeline.batches import Batch
from churn_pipeline.contract.validation import RejectLimit, Tally, rejected_schema
from churn_pipeline.deployments import Deployment
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.progress import Progress
from churn_pipeline.resources.customer_sources.duplicates import policy_of


@dataclass(frozen=True)
class Rehearsal:
    """What reading a batch would find."""

    tally: Tally
    rows_duplicate: int


def rehearse(
    deployment: Deployment, batch: Batch, limit: RejectLimit, duplicates: str, progress: Progress
) -> Rehearsal:
    """Read and judge a batch exactly as a run does, and keep only the counts.

    Raises:
        SourceError: it cannot be read.
        TooManyRejected: it would not be scored.
    """
    contract, tally = deployment.contract(), Tally(limit)
    source = deployment.open_source(batch.source)
    reading = Reading(source, batch, contract, tally, policy_of(duplicates), progress)
    with Spill(rejected_schema(contract)) as rejected:
        for _ in reading.here(rejected):
            pass
    return Rehearsal(tally, int(reading.notes["rows_duplicate"]))

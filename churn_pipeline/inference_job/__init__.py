"""Scoring as a configured job: what `churn-pipeline run` starts, and what a notebook may build by hand.

Belongs here: the public names. `jobs.py` holds the jobs, `readers.py` what they read, write and load, `services.py`
what runs around them, `job_files.py` the YAML files. Does not: the work itself, which is the asset graph's.
"""

from churn_pipeline.inference_job.job_files import job_schema, load_job
from churn_pipeline.inference_job.jobs import InferenceJob, Job
from churn_pipeline.inference_job.readers import (
    DeltaReader,
    FilesReader,
    MemoryReader,
    RegistryLoader,
    SqlReader,
    TablesWriter,
)
from churn_pipeline.inference_job.services import AlertsService, LoggerService, MlflowService, Service

__all__ = [
    "AlertsService",
    "DeltaReader",
    "FilesReader",
    "InferenceJob",
    "Job",
    "LoggerService",
    "MemoryReader",
    "MlflowService",
    "RegistryLoader",
    "Service",
    "SqlReader",
    "TablesWriter",
    "job_schema",
    "load_job",
]

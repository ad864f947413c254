"""The code location of a deployment with real services; see README.md beside this file."""

from churn_pipeline.definitions import build_defs
from churn_pipeline.deployments import production

defs = build_defs(production())

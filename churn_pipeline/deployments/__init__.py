"""Where a deployment's outside things are: settings, and the resources made of them.

Belongs here: the deployments there are. Does not: settings (`settings.py`, `kafka_settings.py`), resources
(`deployment.py`).
"""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from churn_pipeline.deployments.deployment import Deployment
from churn_pipeline.deployments.fields import SettingInvalid
from churn_pipeline.deployments.settings import Settings

__all__ = ["Deployment", "SettingInvalid", "Settings", "local", "production", "test"]


def local() -> Deployment:
    """Everything embedded by default, and real by setting."""
    return Deployment()


def test(home: Path, **overrides: str) -> Deployment:
    """A home of its own; no environment variable matters."""
    settings = replace(Settings(), home=str(home), **overrides)
    return Deployment(lambda: settings)


def production() -> Deployment:
    """Nothing embedded: a service that is not named by its setting is an error before the run starts."""

    def read() -> Settings:
        settings = Settings.from_environment()
        needed = ("home", "source", "tracking_uri", "alert_urls")
        variables = [f.metadata["variable"] for f in fields(Settings) if f.name in needed]
        if missing := [name for name in variables if not os.environ.get(name)]:
            raise SettingInvalid(f"Production needs {', '.join(missing)}. Set them, or use the local deployment.")
        return settings

    return Deployment(read)

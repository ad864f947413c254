"""Spark: the session of this process, work on its workers, and Spark ML models.

Belongs here: everything that touches PySpark, imported where it is used. Does not: what is done on the workers
(`assets/`), choosing an engine (`resources/inference/choice.py`).
"""

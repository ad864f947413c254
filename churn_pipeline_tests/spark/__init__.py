"""Scoring on Spark, with real Java, sessions and workers."""

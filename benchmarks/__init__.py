"""What the pipeline costs, as ratios measured within one run; `python -m benchmarks`."""

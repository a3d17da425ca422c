"""Speed, as ratios measured in one run against named rivals: `python -m benchmarks`."""

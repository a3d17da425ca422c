"""A consumer of an hourly bars CSV: features, a LightGBM model, one prediction a bar.

It knows that CSV and nothing of who writes it, so one's own script can stand in its place.
"""

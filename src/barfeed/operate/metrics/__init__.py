"""Metrics: what they are, how they are collected, written down and served."""

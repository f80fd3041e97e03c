"""Slow evidence: timings and comparisons, run by hand."""

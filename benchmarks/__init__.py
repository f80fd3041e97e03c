"""Slow evidence: what the methods reach, how long they take, beside the papers."""

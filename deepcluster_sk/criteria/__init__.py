"""Criteria that several methods share: what is minimised."""

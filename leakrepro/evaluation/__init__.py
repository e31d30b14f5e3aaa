"""Evaluating models: samples, scores and leak@k in one result."""

"""Evaluation of models: sampling, scoring, leak@k and its intervals."""

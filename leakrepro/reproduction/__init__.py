"""Run the notebooks of a profile, verify their results, and tune unlearning methods."""

"""The unlearning methods, one file each; ``table`` lists them by name."""

"""The unlearning methods: one file per method, listed by name in ``table``."""

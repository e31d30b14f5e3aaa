"""Running the notebooks of a profile, and verifying and tuning what they rest on."""

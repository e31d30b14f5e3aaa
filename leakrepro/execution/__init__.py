"""Where independent tasks run: in this process, in workers of this machine, on a Ray cluster."""

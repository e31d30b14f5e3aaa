"""Execution of independent tasks: in this process, in local workers, or on a Ray cluster."""

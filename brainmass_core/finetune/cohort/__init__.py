"""The cohort of a task: its table, exclusions, and the check for leaks."""

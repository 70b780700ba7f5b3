"""What is measured of a run for its quality page, and what makes it unfit."""

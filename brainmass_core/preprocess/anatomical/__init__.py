"""From a T1w to the brain, its tissues and the template: once per image, kept for every run."""

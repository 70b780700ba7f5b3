"""From a BOLD run to motion, coregistration, masks and confounds, in the order of the work."""

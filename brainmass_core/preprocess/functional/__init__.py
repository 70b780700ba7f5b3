"""Functional processing: from a BOLD run to motion, coregistration, masks and confounds."""

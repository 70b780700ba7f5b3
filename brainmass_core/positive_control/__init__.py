"""Positive control of a pre-training: a simulated cohort in which it is worth having.

A pre-training that finds nothing in patients' scans is either broken or has nothing to find. Here
the truth is known: each person has lasting traits, one of which decides the label, while single
scans are short and dominated by passing states and by sampling noise. An encoder that is trained to
see two windows of a scan alike can learn to ignore the states without any label. It must then
separate the classes from few labelled people better than FC and than the same encoder untrained. In
the negative control the label has nothing to do with the scans, and no method may find it.
"""

"""Check a Slurm site before a study is sent to it (`brainmass slurm-check`).

`site` asks Slurm about itself, `profile` reads Snakemake's profile, `judge` compares both with the
resources of the study, and `trial` runs a job of two nodes as pre-training does.
"""

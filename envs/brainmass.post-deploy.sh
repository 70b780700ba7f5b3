#!/usr/bin/env bash
# Snakemake runs this in the new environment, from the folder in which it was started: the
# project's root, whose package the rules call.
set -euo pipefail
python -m pip install --no-deps --editable .

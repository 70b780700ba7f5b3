"""The BIDS App: a data set, an output folder and a level of analysis, without writing YAML.

`configuration` makes a configuration of a command line, `workflow` runs Snakemake on it,
`validation` asks the BIDS validator first.
"""

"""How the stages hang together: the table of stages, which all that lists stages reads."""

"""Tree ensembles with any number of outputs: stored flat, scored by compiled loops, explained exactly."""

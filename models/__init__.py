"""Stage models: the runtime half scores, the training half makes bundles."""

"""A model bundle: its files, its manifest, the baseline that drift is measured against."""

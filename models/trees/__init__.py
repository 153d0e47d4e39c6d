"""Tree ensembles: flattened, laid out for the processor, scored and explained."""

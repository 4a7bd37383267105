"""Several Programs of one set of weights: parts of a model whose parameters are slices of the whole model's."""

"""Tensors alone: row blocks, Gram matrices, eigenpairs, truncation, spectra and their cache."""

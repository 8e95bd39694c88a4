"""Methods: how an edit makes Ŵ from W. One module a method, found by its name in the manifest.

- method.py: what a method has to offer, and the one that an edit names.
- block_svd.py: ``block-svd``, the paper's: row blocks are cut to the ranks in the manifest.
- directions.py: ``directions``, some singular values are multiplied by the factors in the manifest.
- factored_linear.py: a linear layer that runs factors instead of a matrix.
- added_low_rank.py: a linear layer that runs factors beside its matrix.
"""

"""Tensors alone: row blocks, their singular values and vectors, truncation, factors. No model and no manifest here.

- lowrank.py: row blocks of a weight, their singular value decompositions, and cutting them to ranks.
- fused_rows.py: the rows of one of several matrices that are fused in one tensor.
- gram.py: the smaller Gram matrix of a row block, and truncation by its eigenvectors where that is exact enough.
- lanczos.py: a few leading eigenvectors of a large symmetric matrix.
- lapack.py: some eigenpairs of a symmetric matrix, by LAPACK.
- matrix_threads.py: several matrices at once, each in a thread of its own.
- block_tails.py: the last singular triplets of row blocks, which scores need.
- block_spectra.py: one decomposition of a row block for every rank; ties of singular values at the cut.
- directions.py: other values for some singular values, the same singular vectors.
- random_edits.py: the same with chance in the place of a choice.
- spectrum.py: σ-gradients by their definition, and the score of a matrix.
- spectrum_cache.py: block tails and block spectra on disk.
- spectrum_files.py: the files of that cache, and how much room they take.
- factors.py: an edited weight as a product of factors, and that product with the same bits on every machine.
- energy.py: how much of a weight's energy an edit keeps.
- subspaces.py: K-subspaces, the paper's optimal clustering of rows.
- k_means.py: rows put together by their directions.
- devices.py: what torch can compute on.
- finite.py: whether a tensor holds NaN or infinite values.
"""

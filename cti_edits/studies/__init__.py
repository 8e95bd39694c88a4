"""The questions that the paper and LASER leave open, each answered by `cti-edits study NAME`.

- catalogue.py: the studies by their names.
- study.py: what a study is: its question, its units, its table and picture.
- study_file.py: the file that each measured unit is appended to at once, and from which a study goes on.
- context.py: the model, rows and matrices that the units of a study share.
- held_out_search.py: a small search whose winner is measured on held-out rows.
- correlation.py: Pearson's and Spearman's correlation.
- runner.py: the order of a study: measure what is missing, then table and picture.

The studies, one a module:

- scorers.py: what a scorer's order of the matrices has to do with what cutting them does.
- last.py: how many of the last singular values are scored.
- matrices.py: each role of matrix by itself, attention too.
- samples.py: how many calibration rows a search needs.
- sigma.py: singular values against their gradients.
- clusters.py: which number of row blocks wins.
- partition.py: ways to assign rows to blocks.
"""

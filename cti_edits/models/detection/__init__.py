"""Looking at a model that no architecture file covers, from its config alone: nothing is guessed by names.

- flow.py: one pass on the meta device, in which each tensor knows which matrices it is made of.
- columns.py: which part of a fused matrix a tensor is.
- blocks.py: the lists of blocks, and the role of each matrix in a block.
- proposal.py: the architecture file that follows.
"""

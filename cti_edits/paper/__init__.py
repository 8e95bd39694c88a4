"""The paper's tables, and the 48 edits that are made of them.

- paper_tables.json: tables 1 to 9 of arXiv:2510.20800, as printed.
- published.py: the edits of tables 7 and 8 as manifests.
- systems.py: what it reports of its systems on one task of one model.
- __main__.py: ``python -m cti_edits.paper`` writes them.
"""

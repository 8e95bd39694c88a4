"""Numbers to words, for the terminal and the model card.

- listing.py: tables and columns; intervals and sizes as text.
- edit_lines.py: ``cti-edits show``: an edit, line by line.
- measurements.py: what was measured of an edit; held-out rows come first.
- sections.py: those lines as a section, and the sections of plugins.
- search_report.py: the end of ``cti-edits search``.
- reproduction.py: ``cti-edits reproduce``.
- architectures.py: ``cti-edits architectures``: what is known, and the tree of a model.
- comparison.py: ``cti-edits compare``.
- model_card.py: the README.md of an edit on the hub.
- how_to_use.py: its instructions: installation, and the lm_eval command.
"""

"""Numbers to words and figures, for the terminal, the model card, and pages.

- listing.py: tables and columns; intervals and sizes as text.
- edit_lines.py: ``cti-edits show``: an edit, line by line.
- measurements.py: what was measured of an edit; held-out rows come first.
- sections.py: those lines as a section, and the sections of plugins.
- search_report.py: the end of ``cti-edits search``.
- reproduction.py: ``cti-edits reproduce``.
- architectures.py: ``cti-edits architectures``: what is known, and the tree of a model.
- comparison.py: ``cti-edits compare``.
- model_card.py: the README.md of an edit on the hub.
- every_eval_ever.py: held-out results for the collection of that name.
- how_to_use.py: its instructions: installation, and the lm_eval command.
- edit_report.py: the page of an edit.
- headline.py: the verdict; asked_lines.py: what was asked; compute.py: what it cost, beside the paper's systems.
- result_figures.py, search_figures.py, heat_maps.py: its figures; figures.py: how a figure becomes a part of a page.
- gallery.py: the page of many edits.
- page.py: from the templates in templates/ to HTML; words.py: figures as pages write them.
"""

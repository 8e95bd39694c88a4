"""``python -m cti_edits`` is the command ``cti-edits``."""

from cti_edits.cli import main

main()

"""The Hugging Face hub, and what a person writes for an edit. The only user of huggingface_hub.

- references.py: a file, a folder or ``owner/name[/file.json][@revision]``, and the manifest that it names.
- repositories.py: fetching and pushing edits, and fetching checkpoints.
- front_matter.py: what the hub reads of an edit's README.md.
- status.py: whether the hub answers, and what its cache takes.
- checkpoint_file.py: one file of a checkpoint on the hub.
"""

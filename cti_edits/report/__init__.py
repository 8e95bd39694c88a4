"""Numbers to words."""

"""The search for an edit: candidates, gradients, evaluation, and the order of things."""

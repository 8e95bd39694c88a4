"""Loaded models and checkpoints."""

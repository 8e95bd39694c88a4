"""Tiny configurations of model types: a config, a class, and settings with which three layers are built in no time."""

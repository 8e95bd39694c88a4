"""The only user of huggingface_hub."""

"""The edit manifest: JSON in, an `Edit` out, and back."""

"""Measurements that decide how the method goes: commands that write JSON Lines, and go on where they stopped."""

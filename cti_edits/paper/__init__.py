"""The paper's tables and edits."""

"""The edit manifest: JSON in, an `Edit` out, and back. Knows files, and nothing of models.

- manifest.py: an `Edit`, its matrix edits and base model; reading, the digest, writing.
- records.py: what an edit records of its task, its search, its figures and how it was made; asked.py: all that a figure
  depends on beside the edit.
- manifest_schema.py: checks a document against the schema, and says in words which field is wrong.
- strict_json.py: JSON as manifests are written.
- ranks.py: row blocks and the ranks that they keep, as integers.
- compose.py: several edits as one; differences.py: in which fields two edits differ.
- html_table.py: an edit as notebooks show it.
"""

"""The edit manifest: JSON in, an `Edit` out, and back. Knows files, and nothing of models.

- manifest.py: an `Edit` and its base model; reading, the digest, writing.
- matrix_edits.py: what a manifest says of one weight matrix, by its method; versions.py: from each older version of the
  manifest to the next, and back.
- matrix_id.py: which matrix of a model; rows.py: which rows of a stored weight it is, where several are fused in one.
- matrix_id.py: which matrix of a model; rows.py: which rows of a stored weight it is, where several are fused in one.
- records.py: what an edit records of its task, its search, its figures and how it was made; asked.py: all that a figure
  depends on beside the edit.
- json_schema.py: checks a document against its schema, and says in words which field is wrong.
- strict_json.py: JSON as manifests are written.
- ranks.py: row blocks and the ranks that they keep, as integers.
- compose.py: several edits as one; differences.py: in which fields two edits differ.
- html_table.py: an edit as notebooks show it.
"""

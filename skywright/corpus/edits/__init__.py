"""Edits: what is cut out of a text, and the table that says so.

`spans` is for every step that cuts: lines here, duplicates and personal data elsewhere.
"""

from skywright.corpus.edits.spans import (
    EDIT_SCHEMA,
    Cut,
    apply,
    edit_rows,
    moved,
    restore,
    spans_by_id,
)

__all__ = ["EDIT_SCHEMA", "Cut", "apply", "edit_rows", "moved", "restore", "spans_by_id"]

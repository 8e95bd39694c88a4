"""Methods: how an edit makes Ŵ from W. One module a method, found by its name in the manifest.

- block_svd.py: ``block-svd``, the paper's: row blocks are cut to the ranks in the manifest.
- factored_linear.py: a linear layer that runs factors instead of a matrix.
"""

from __future__ import annotations

from types import ModuleType

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import EditError


def method_of(edit: Edit) -> ModuleType:
    """The module of the edit's method, with the functions of `block_svd`.

    Raises:
        EditError: the method is not known here.
    """
    from cti_edits.methods import block_svd

    if edit.method != block_svd.NAME:
        raise EditError(f"{edit.name}: method: {edit.method!r} is not known here")
    return block_svd

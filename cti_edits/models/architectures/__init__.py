"""Where U_in of layer 7 lives in a model: one data file for each family of models, and looking it up. No torch here.

- family.py: what a file says; data_file.py: reading one, by the schema ``architecture``.
- known.py: every file that there is, by the model types that it covers.
- class_names.py: whether a model is of the class that an edit is for.
"""

from cti_edits.models.architectures.class_names import HEADS, check_architecture
from cti_edits.models.architectures.data_file import made_family, read_family
from cti_edits.models.architectures.family import Family, Kind, MatrixPlace, RowShares, Stack, count_of
from cti_edits.models.architectures.known import families, family_of, known_family, read_folder, use_architecture

__all__ = (
    "HEADS",
    "Family",
    "Kind",
    "MatrixPlace",
    "RowShares",
    "Stack",
    "check_architecture",
    "count_of",
    "families",
    "family_of",
    "known_family",
    "made_family",
    "read_family",
    "read_folder",
    "use_architecture",
)

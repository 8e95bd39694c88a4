"""The studies by their names."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cti_edits.errors import EditError
from cti_edits.studies.catalogue import NAMES, find_study
from tests.conftest import ROOT


def test_every_study_is_found_by_its_name() -> None:
    found = [find_study(name) for name in NAMES]
    assert [study.name for study in found] == list(NAMES)
    assert len({study.title for study in found}) == len(NAMES)
    for study in found:
        assert len({kind.NAME for kind in study.records}) == len(study.records)


def test_the_nearest_name_is_given() -> None:
    known = "scorers, last, matrices, samples, sigma, clusters, partition"
    with pytest.raises(EditError) as refused:
        find_study("Scorer")
    assert str(refused.value) == f"name: expected one of {known}, got 'Scorer'; did you mean scorers?"
    with pytest.raises(EditError, match=r"got '\.\./x'$"):
        find_study("../x")


def test_names_are_known_without_torch_or_matplotlib() -> None:
    program = "import sys, cti_edits.studies.catalogue; print({'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "set()\n"

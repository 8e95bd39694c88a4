from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.support.reports import SMALL, Searched, searched


@pytest.fixture(scope="session")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Searched]:
    """A real search of a tiny model with each of two presets, by preset."""
    return {preset: searched(tmp_path_factory.mktemp("rows"), preset) for preset in SMALL}

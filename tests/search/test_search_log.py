"""A log has what was finished, for the search that it is of and for no other."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cti_edits.errors import EditError, WriteError
from cti_edits.json_lines import HeldError
from cti_edits.search.search_log import SearchLog, Steps, log_path

ASKED: dict[str, Any] = {
    "device": "cpu",
    "settings": {"rates": [0.9], "top_q": 2, "seed": 0, "epochs": 0, "samples": 9, "matrices": ["U_in"]},
}


def asked(**settings: Any) -> dict[str, Any]:
    return {**ASKED, "settings": {**ASKED["settings"], **settings}}


def begun(path: Path, wanted: dict[str, Any] | None = None, **how: bool) -> SearchLog:
    """With a step, without which a log is not kept."""
    log = SearchLog(path, **how)
    log.begin(wanted or ASKED)
    log.steps.put("first", ({}, 0))
    return log


def test_its_name_is_that_of_the_manifest() -> None:
    assert log_path(Path("a/gptj.fever.json")) == Path("a/gptj.fever.search.jsonl")
    assert log_path(Path("edit")) == Path("edit.search.jsonl")


def test_what_is_finished_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    computed: list[str] = []

    def measure() -> float:
        computed.append("once")
        return 1 / 3

    for steps_before in (0, 1):
        with SearchLog(path) as log:
            assert log.begin(ASKED) == steps_before
            steps = log.steps.under(on="test")
            assert steps.once("loss", {"draw": 1}, measure, float, float) == 1 / 3
            assert steps.get("loss", {"draw": 2}, float) is None
            assert log.steps.get("loss", {"draw": 1}, float) is None
    assert computed == ["once"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["run", "search_log", "step"]
    assert lines[2] == {"step": "loss", "of": {"on": "test", "draw": 1}, "value": 1 / 3}


def test_without_a_log_nothing_is_kept() -> None:
    steps = Steps()
    steps.put("loss", ({}, 1.0))
    assert steps.get("loss", {}, float) is None
    assert steps.under(a=1).once("loss", {}, lambda: 2.0, float, float) == 2.0


def test_the_last_value_of_a_step_counts_and_none_is_written_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with begun(path) as log:
        for value in (1, 2, 2):
            log.steps.put("n", ({"a": 1, "b": 2}, value))
    with begun(path) as log:
        assert log.steps.get("n", {"b": 2, "a": 1}, int) == 2
    assert path.read_text().count('"step": "n"') == 2


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {**ASKED, "device": "cuda"},
            "device: cpu there, cuda here); begin anew, and keep it under another name (fresh)",
        ),
        (asked(seed=1, samples=10), "settings.seed: 0 there, 1 here; settings.samples: 9 there, 10 here); begin anew"),
        (asked(rates=[0.9, 0.5]), "settings.rates: 0.9 there, 0.9, 0.5 here); widen that search (extend)"),
        (asked(rates=[0.5]), "settings.rates: 0.9 there, 0.5 here); begin anew"),
        (asked(top_q=None), "settings.top_q: 2 there, none here); widen that search (extend)"),
        ({**ASKED, "new": "\n\x1b[31m"}, r"new: none there, \n\x1b[31m here); begin anew"),
    ],
)
def test_another_search_is_refused_and_the_difference_named(wanted: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    begun(path).close()
    before = path.read_bytes()
    with SearchLog(path) as log, pytest.raises(EditError) as refused:
        log.begin(wanted)
    message = str(refused.value)
    assert message.startswith(f"{path} is of another search ({said}")
    assert "\n" not in message
    assert path.read_bytes() == before


def test_many_differences_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    begun(path, {f"k{n}": 0 for n in range(8)}).close()
    with SearchLog(path) as log, pytest.raises(EditError, match=r"k4: 0 there, 1 here; and 3 more\); begin anew"):
        log.begin({f"k{n}": 1 for n in range(8)})


@pytest.mark.parametrize(
    "wider", [{"rates": [0.5, 0.9]}, {"top_q": 3}, {"top_q": None}, {"matrices": ["U_out", "U_in"]}]
)
def test_a_search_is_widened_and_keeps_its_figures(wider: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with begun(path) as log:
        log.steps.put("n", ({}, 1))
        log.finish({})
    with SearchLog(path, extend=True) as log:
        assert log.finished == {}
        assert log.begin(asked(**wider)) == 2
        assert log.finished is None
        log.steps.put("n", ({"more": 1}, 1))
    # It is that search from now on.
    begun(path, asked(**wider)).close()
    with SearchLog(path) as log, pytest.raises(EditError, match="is of another search"):
        log.begin(ASKED)


@pytest.mark.parametrize("other", [{"rates": [0.5]}, {"top_q": 1}, {"seed": 1}, {"epochs": 2}])
def test_what_is_not_wider_is_not_widened(other: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    begun(path).close()
    with SearchLog(path, extend=True) as log, pytest.raises(EditError, match=r"begin anew"):
        log.begin(asked(**other))


def test_a_search_that_begins_anew_keeps_the_old_log(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    begun(path, fresh=True).close()
    (tmp_path / "a.search.1.jsonl").write_text("mine")
    first = path.read_bytes()
    begun(path, asked(seed=1), fresh=True).close()
    assert (tmp_path / "a.search.2.jsonl").read_bytes() == first
    assert (tmp_path / "a.search.1.jsonl").read_text() == "mine"
    begun(path, asked(seed=1)).close()


def test_a_log_in_which_nothing_was_begun_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with SearchLog(path):
        assert path.exists()
    assert not path.exists()


def test_a_second_search_is_told_who_holds_the_log(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with SearchLog(path), pytest.raises(HeldError) as refused:
        SearchLog(path)
    held = f"{path}: another process writes to it: process {os.getpid()} on {platform.node()}, since "
    assert str(refused.value).startswith(held)


def test_a_torn_line_is_as_if_it_had_not_been_begun(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with begun(path) as log:
        log.steps.put("n", ({"a": 1}, 1), ({"a": 2}, 2))
    path.write_bytes(path.read_bytes()[:-5])
    with begun(path) as log:
        assert [log.steps.get("n", {"a": a}, int) for a in (1, 2)] == [1, None]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "line 4: expected a JSON object, got something else"),
        ('{"steps": 1}', 'line 4: unknown key "steps"'),
        ('{"step": 1, "of": {}, "value": 1}', "line 4: step: expected a string, got an integer 1; begin anew (fresh)"),
        ('{"search_log": 2, "asked": {}}', "line 4: search_log: expected 1, got 2; begin anew (fresh)"),
        ('{"step": "a"}', 'line 4: the key "of" is missing; begin anew (fresh)'),
    ],
)
def test_a_line_that_is_none_of_a_log(line: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    begun(path).close()
    path.write_text(path.read_text() + line + "\n")
    content = path.read_bytes()
    with pytest.raises(EditError) as refused:
        SearchLog(path)
    assert str(refused.value).startswith(f"{path}: {said}")
    assert path.read_bytes() == content
    SearchLog(path, fresh=True).close()


def test_a_value_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.search.jsonl"
    with begun(path) as log:
        log.steps.put("n", ({"a": 1}, "x"))
        with pytest.raises(EditError) as refused:
            log.steps.get("n", {"a": 1}, float)
    assert str(refused.value) == f'{path}: the step n of {{"a": 1}} is damaged; begin anew (fresh)'


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"file/a\.search\.jsonl: cannot write here"):
        SearchLog(tmp_path / "file" / "a.search.jsonl")


names = st.dictionaries(st.text(), st.integers() | st.text() | st.none(), max_size=3)


@given(names, st.floats(allow_nan=False, allow_infinity=False))
def test_every_step_is_found_again(tmp_path_factory: pytest.TempPathFactory, of: dict[str, Any], value: float) -> None:
    path = tmp_path_factory.mktemp("log") / "a.search.jsonl"
    with begun(path) as log:
        log.steps.put("n", (of, value))
    with begun(path) as log:
        assert log.steps.get("n", of, float) == value

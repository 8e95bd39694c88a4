"""What ``cti-edits show`` says of an edit, section by section. No torch here.

`ReportSection` is what a plugin's hook ``report_sections`` gives.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cti_edits.artifact.manifest import Edit
from cti_edits.errors import printable
from cti_edits.plugins import OFF_SWITCH, Provider, provided
from cti_edits.report.edit_lines import manifest_lines
from cti_edits.report.measurements import Line


@dataclass(frozen=True)
class ReportSection:
    """Lines about an edit.

    Attributes:
        name: their heading.
        lines: from an edit to keys and values; none where there is nothing to say.
    """

    name: str
    lines: Callable[[Edit], Iterable[Line]]


def section_lines(edit: Edit) -> Iterator[Line]:
    """What a manifest says, and under a heading each what plugins say of it.

    A section that fails is named on stderr with the plugin that gives it, and left out.
    """
    for provider, section in provided("report_sections", ReportSection):
        if provider.is_built_in:
            yield from section.lines(edit)
            continue
        try:
            found = [(str(key), str(value)) for key, value in section.lines(edit)]
        except Exception as error:
            _warn(provider, section, error)
            continue
        if found:
            yield "", ""
            yield printable(section.name), ""
            for key, value in found:
                yield f"  {printable(key)} ", value


def _warn(provider: Provider, section: ReportSection, error: Exception) -> None:
    print(
        f"cti-edits: warning: the report section {printable(section.name)!r} of {provider} failed and is left out: "
        f"{printable(f'{type(error).__name__}: {error}', 500)}; {OFF_SWITCH}=1 turns plugins off",
        file=sys.stderr,
    )


SECTIONS = (ReportSection("manifest", manifest_lines),)
"""Those that come with cti-edits."""

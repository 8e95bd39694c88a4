"""``cti-edits plugins``."""

from __future__ import annotations

from pathlib import Path

from cti_edits.cli.json_output import AsJson, print_json
from cti_edits.report.listing import print_listing


def plugins(as_json: AsJson = False) -> None:
    """List plugins: what each gives and where it is from, what is built in too, and which are left out and why.

    CTI_EDITS_DISABLE_PLUGINS=1 leaves installed plugins out.
    """
    from cti_edits.cli.json_records import ListedPlugin
    from cti_edits.models.architectures import families
    from cti_edits.plugins import plugins as every_plugin

    # Reads the architecture files, which may be why a plugin is left out.
    families()
    found = every_plugin()
    rows = []
    for plugin in found.loaded:
        named = {hook: [part.name for part in parts] for hook, parts in plugin.parts.items()}
        in_folders = {
            hook: [stem for one in paths for stem in _stems(hook, one)] for hook, paths in plugin.folders.items()
        }
        provider = plugin.provider
        if as_json:
            given = {hook: names for hook, names in (named | in_folders).items() if names}
            print_json(ListedPlugin(provider.plugin, provider.distribution, provider.version, given))
            continue
        rows += [
            (provider.plugin, f"{provider.distribution} {provider.version}", hook, ", ".join(names))
            for hook, names in (named | in_folders).items()
            if names
        ] or [(provider.plugin, f"{provider.distribution} {provider.version}", "none", "")]
    if as_json:
        for one in found.left_out:
            print_json(ListedPlugin(str(one.provider), None, None, {}, one.reason))
        return
    print_listing(("plugin", "from", "parts", "names"), rows)
    for one in found.left_out:
        print(f"left out: {one.provider}: {one.reason}")


def _stems(hook: str, folder: str) -> list[str]:
    """What a folder gives: families of models, or tasks, by their files."""
    pattern = "*.json" if hook == "architecture_folders" else "**/*.yaml"
    return sorted(path.stem for path in Path(folder).glob(pattern))

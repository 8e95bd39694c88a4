"""Lists of blocks in a model, and the roles that matrices have in a block, by what flows into what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cti_edits.models.detection.columns import Columns, union, without
from cti_edits.models.detection.flow import Flow, Source, Way, Ways

ROLES = ("U_in", "U_up", "U_out", "W_q", "W_k", "W_v", "W_o")


@dataclass(frozen=True)
class BlockList:
    """Modules of a list that take and give hidden states.

    Attributes:
        name: dotted name of the list.
        members: dotted names of its blocks, in order.
        width: the size of the hidden states.
    """

    name: str
    members: tuple[str, ...]
    width: int


@dataclass(frozen=True)
class Group:
    """An MLP or an attention of one block.

    Attributes:
        roles: from role to the matrix, or the columns of what it gives, that has it.
        size: how many numbers go into its last matrix; of experts, into all of them.
    """

    roles: Mapping[str, Source]
    size: int


def block_lists(flow: Flow) -> list[BlockList]:
    """The lists of blocks that were run, in that order; none is inside another."""
    found: dict[str, list[str]] = {}
    for name, (given, made) in flow.calls.items():
        if len(given) > 1 and given == made:
            found.setdefault(name.rpartition(".")[0], []).append(name)
    lists = []
    for name, members in found.items():
        if not any(name.startswith(f"{other}.") for other in found):
            members.sort(key=lambda member: int(member.rpartition(".")[2]))
            lists.append(BlockList(name, tuple(members), flow.calls[members[0]][0][-1]))
    return lists


def roles_of(blocks: BlockList, flow: Flow) -> tuple[dict[str, tuple[Source, ...]], tuple[str, ...]]:
    """From each role that is clear to what has it inside a block, and the matrices of further MLPs and attentions.

    Where blocks differ, what most of them have comes first. Of several MLPs in a block, the widest is taken: it may
    have a small one beside it, or shared experts.
    """
    counts: dict[str, Counter[Source]] = {}
    further: Counter[str] = Counter()
    for member in blocks.members:
        inside = {name: ways for name, ways in flow.into.items() if name.startswith(f"{member}.")}
        for groups in (_mlps(inside, blocks, flow), _attentions(inside, blocks, flow)):
            groups.sort(key=lambda group: -group.size)
            for group in groups[1:]:
                further.update(_inside(source.matrix, member) for source in group.roles.values())
            if groups:
                for role, source in groups[0].roles.items():
                    counts.setdefault(role, Counter())[Source(_inside(source.matrix, member), source.columns)] += 1
    found = {role: tuple(one for one, _ in counts[role].most_common()) for role in ROLES if role in counts}
    taken = {source.matrix for sources in found.values() for source in sources}
    return found, tuple(name for name in further if name not in taken)


def _inside(name: str, member: str) -> str:
    return name.removeprefix(f"{member}.")


def _mlps(inside: Mapping[str, Ways], blocks: BlockList, flow: Flow) -> list[Group]:
    """What goes through a nonlinear function into a matrix, where each position of the sequence stays alone."""
    groups = []
    for out, ways in inside.items():
        own = _own(ways, inside)
        inner, width = flow.features[out]
        if width != blocks.width or not own or any(Way.MIXED in way for _, way in own):
            continue
        activated = _parts(own, lambda way: Way.ACTIVATED in way, flow)
        # A smooth function may be made of products with what goes into it, which is plain then.
        plain = _without(_parts(own, lambda way: Way.ACTIVATED not in way, flow), activated, flow)
        if len(activated) != 1 or len(plain) > 1:
            continue
        if all(_shape(one, flow) == (width, inner) for one in (*activated, *plain)):
            up = {"U_up": plain[0]} if plain else {}
            roles = {"U_in": activated[0], **up, "U_out": Source(out)}
            groups.append(Group(roles, inner * flow.experts.get(out, 1)))
    return groups


def _attentions(inside: Mapping[str, Ways], blocks: BlockList, flow: Flow) -> list[Group]:
    """What a softmax weighs goes into a matrix; an attention to another list of blocks is left out."""
    groups = []
    for out, ways in inside.items():
        own = _own(ways, inside)
        if flow.features[out][1] != blocks.width or not any(Way.VALUE in way for _, way in own):
            continue
        roles = {"W_o": Source(out)}
        if _is_cross(own, blocks, flow):
            continue
        for role, kind in (("W_q", Way.QUERY), ("W_k", Way.KEY), ("W_v", Way.VALUE)):
            parts = _parts(own, lambda way, kind=kind: kind in way, flow)  # type: ignore[misc]
            others = _parts(own, lambda way, kind=kind: kind not in way, flow)  # type: ignore[misc]
            alone = len(parts) == 1 and _without(parts, others, flow) == parts
            if alone and flow.features[parts[0].matrix][0] == blocks.width:
                roles[role] = parts[0]
        groups.append(Group(roles, flow.features[out][0]))
    return groups


def _is_cross(own: Ways, blocks: BlockList, flow: Flow) -> bool:
    """Whether keys are made of what another list of blocks gave."""
    keys = {source.matrix for source, way in own if Way.KEY in way}
    sources = {source.matrix for key in keys for source, _ in flow.into[key]}
    queries = {source.matrix for source, way in own if Way.QUERY in way}
    return any(
        not source.startswith(f"{blocks.name}.")
        for source in sources - {source.matrix for query in queries for source, _ in flow.into[query]}
    )


def _own(ways: Ways, inside: Mapping[str, Ways]) -> Ways:
    return frozenset((source, way) for source, way in ways if source.matrix in inside)


def _parts(ways: Ways, wanted: Callable[[Way], bool], flow: Flow) -> list[Source]:
    """The matrices that came in a wanted way, each with all columns of it that did."""
    columns: dict[str, list[Columns | None]] = {}
    for source, way in ways:
        if wanted(way):
            columns.setdefault(source.matrix, []).append(source.columns)
    return [Source(name, union(parts, flow.features[name][1])) for name, parts in columns.items()]


def _without(sources: list[Source], others: list[Source], flow: Flow) -> list[Source]:
    """The columns of ``sources`` that are not among those of ``others``; a source that has none is left out."""
    found = []
    for one in sources:
        same = [other.columns for other in others if other.matrix == one.matrix]
        columns = without(one.columns, same, flow.features[one.matrix][1])
        if columns != ():
            found.append(Source(one.matrix, columns))
    return found


def _shape(source: Source, flow: Flow) -> tuple[int, int]:
    given, made = flow.features[source.matrix]
    return given, made if source.columns is None else sum(stop - start for start, stop in source.columns)

"""Lists of blocks in a model, and the roles that its matrices have in a block, by what flows into what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from cti_edits.models.detection.flow import Flow, Way, Ways


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


def roles_of(blocks: BlockList, flow: Flow) -> tuple[dict[str, str], list[str]]:
    """From each role that is clear to the name inside a block, and remarks on what is not clear.

    A block that has no such matrix is left out; where blocks differ, what most of them have is taken.
    """
    counts: dict[str, Counter[str]] = {}
    remarks: Counter[str] = Counter()
    for member in blocks.members:
        roles, said = _roles_in_block(member, blocks, flow)
        for role, inside in roles.items():
            counts.setdefault(role, Counter())[inside] += 1
        remarks.update(said)
    found = {role: counts[role].most_common(1)[0][0] for role in ROLES if role in counts}
    return found, [text for text, _ in remarks.most_common()]


ROLES = ("U_in", "U_up", "U_out", "W_q", "W_k", "W_v", "W_o")


def _roles_in_block(block: str, blocks: BlockList, flow: Flow) -> tuple[dict[str, str], list[str]]:
    inside = {name: ways for name, ways in flow.into.items() if name.startswith(f"{block}.")}
    found: list[dict[str, str]] = []
    remarks = []
    for name, ways in inside.items():
        own = frozenset((source, way) for source, way in ways if source in inside)
        if flow.features[name][1] != blocks.width or not own:
            continue
        if any(Way.VALUE in way for _, way in own):
            found.append(_attention(name, own, blocks, flow))
        elif any(Way.ACTIVATED in way for _, way in own) and not any(Way.MIXED in way for _, way in own):
            found.append(_mlp(name, own, flow))
    roles: dict[str, str] = {}
    for one in found:
        for role, name in one.items():
            if role in roles:
                remarks.append(f"{role}: {roles[role]} and {name.removeprefix(block + '.')}")
            roles.setdefault(role, name.removeprefix(f"{block}."))
    return roles, remarks


def _mlp(out: str, own: Ways, flow: Flow) -> dict[str, str]:
    width, inner = flow.features[out][1], flow.features[out][0]
    activated = {source for source, way in own if Way.ACTIVATED in way}
    plain = {source for source, _ in own} - activated
    roles = {"U_out": out}
    if len(activated) == 1 and len(plain) <= 1:
        roles |= {"U_in": one for one in activated if flow.features[one] == (width, inner)}
        roles |= {"U_up": one for one in plain if flow.features[one] == (width, inner)}
    return roles


def _attention(out: str, own: Ways, blocks: BlockList, flow: Flow) -> dict[str, str]:
    roles = {"W_o": out}
    for role, kind in (("W_q", Way.QUERY), ("W_k", Way.KEY), ("W_v", Way.VALUE)):
        of_kind = {source for source, way in own if kind in way}
        if len(of_kind) == 1:
            (source,) = of_kind
            others = {way for name, way in own if name == source and kind not in way}
            if not others:
                roles[role] = source
    return roles


def names_in(lists: Iterable[BlockList]) -> frozenset[str]:
    """Dotted names of all blocks."""
    return frozenset(member for one in lists for member in one.members)

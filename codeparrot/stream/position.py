"""The state of a stream: the place of each lane in each source, and what these places mean nothing without.

A stream of one source has the form that it had before there were mixtures, so either version reads what the other one saved.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codeparrot.config import StreamConfig
from codeparrot.errors import CodeparrotError
from codeparrot.stream.entries import TRAIN
from codeparrot.stream.lane import Cursor
from codeparrot.stream.opened import OpenSource
from codeparrot.stream.shuffle import LaneState, MixedState, block_windows

VERSIONS = {"documents": 1, "windows": 2}
"""By the order that a place belongs to."""
BLOCKS = "stream.block_windows"
PLACES = "place_tokens"
"""Of a source in a mixture: how long the places are that a position counts. Without it they are as of earlier versions."""


def save(stream: StreamConfig, sources: Sequence[OpenSource], states: Mapping[int, MixedState]) -> dict[str, Any]:
    """Return the places of these lanes, ready for JSON."""
    head = {"version": _version(stream), "num_lanes": stream.lanes}
    lanes = {str(lane): [_place(stream, state) for state in mixed.sources] for lane, mixed in states.items()}
    if len(sources) == 1:
        return {**head, **sources[0].facts, "lanes": {lane: places[0] for lane, places in lanes.items()}}
    if stream.order == "documents":
        return {**head, "sources": [source.facts for source in sources], "lanes": lanes}
    facts = [{**source.facts, PLACES: source.place_tokens} for source in sources]
    return {**head, BLOCKS: block_windows(stream), "sources": facts, "lanes": lanes}


def load(
    state: Mapping[str, Any], stream: StreamConfig, sources: Sequence[OpenSource], lanes: Iterable[int]
) -> dict[int, MixedState]:
    """Return the places of these lanes in a state that any number of processes may have saved.

    The weights may be others than those it was saved with: each source goes on at its place, with the blocks it had.

    Raises:
        CodeparrotError: the state belongs to another order, another number of lanes or of sources or other files, or lacks
            lanes of this process.
    """
    version = state.get("version")
    if version not in VERSIONS.values():
        raise CodeparrotError(f"the stream's state has version {version}; this codeparrot reads 1 and 2")
    if state["num_lanes"] != stream.lanes:
        raise CodeparrotError(f"the run has {state['num_lanes']} lanes; set stream.lanes to that")
    saved = saved_sources(state)
    if len(saved) != len(sources):
        raise CodeparrotError(f"{TRAIN} has {len(sources)} sources, and the run was begun with {len(saved)}")
    if [each["data"] for each in saved] != [source.identity for source in sources]:
        raise CodeparrotError(f"{TRAIN} holds different files from those the run began with; positions would be wrong")
    if version != _version(stream):
        (order,) = (name for name, each in VERSIONS.items() if each == version)
        raise CodeparrotError(f"the run was begun with stream.order {order}; set it back to go on at its position")
    if len(saved) > 1 and version == VERSIONS["windows"]:
        _keep_blocks(state, stream, sources)
    for source, facts in zip(sources, saved, strict=True):
        source.check(facts)
    if missing := [lane for lane in lanes if str(lane) not in state["lanes"]]:
        raise CodeparrotError(f"the stream's state lacks lanes {missing}; it was not merged from all processes")
    places = {lane: state["lanes"][str(lane)] for lane in lanes}
    return {lane: MixedState(tuple(map(_state, own if len(saved) > 1 else [own]))) for lane, own in places.items()}


def saved_sources(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a state says of each source; `data` tells its documents from others."""
    return state.get("sources", [state])


def merge_states(states: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the states of all processes into one that does not depend on ranks."""
    lanes = {lane: position for state in states for lane, position in state["lanes"].items()}
    return {**states[0], "lanes": dict(sorted(lanes.items(), key=lambda entry: int(entry[0])))}


def _keep_blocks(state: Mapping[str, Any], stream: StreamConfig, sources: Sequence[OpenSource]) -> None:
    """Divide the block of a lane among the sources as it was, since a place is one in a block of its length."""
    if state[BLOCKS] != block_windows(stream):
        raise CodeparrotError(
            f"the stream's position is one of {BLOCKS} {state[BLOCKS]}, not {block_windows(stream)}; set that back"
        )
    for source, facts in zip(sources, saved_sources(state), strict=True):
        source.keep_blocks(facts[BLOCKS], facts.get(PLACES))


def _version(stream: StreamConfig) -> int:
    return VERSIONS["documents" if stream.order == "documents" else "windows"]


def _place(stream: StreamConfig, state: LaneState) -> list[int]:
    taken = [] if stream.order == "documents" else [state.taken]
    tokens = [state.tokens] if stream.packing == "best_fit" else []
    return [state.num_windows, *taken, *tokens, *state.cursor]


def _state(place: Sequence[int]) -> LaneState:
    num_windows, *further, epoch, shard, block, row, piece, token = place
    return LaneState(num_windows, Cursor(epoch, shard, block, row, piece, token), *further)

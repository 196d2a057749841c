"""Whose copies a mirror holds: another run's are never written over.

A run draws an id when it first comes to a mirror. It is in the run's mirror.json and in the mirror's run.json. A run directory
that is gone is taken for the same run by its name; one that has checkpoints but no mirror.json, by a checkpoint that both have.
"""

import logging
import secrets
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.mirror import copies
from codeparrot.mirror.copies import Owner
from codeparrot.mirror.state import State
from codeparrot.mirror.store import Store
from codeparrot.publishing.ledger import entries

logger = logging.getLogger("codeparrot")


class Conflict(CodeparrotError):
    """The mirror belongs to another run."""


def claim(state: State, name: str, store: Store) -> copies.Found:
    """Make sure that a mirror is this run's, and write down what it holds. An empty one becomes this run's.

    Args:
        state: of the run, opened.
        name: of the run.
        store: of the mirror.

    Raises:
        Conflict: it is another run's, or holds something else.
        CodeparrotError: it cannot be used.
    """
    content, sizes = state.read(), store.sizes()
    owner = copies.owner_of(store, sizes)
    found = copies.look(store, sizes) if owner else copies.Found([], [])
    here = entries(state.run / "checkpoints")
    if owner is None or (owner.id == content["id"] and not (found.whole or found.faults)):
        _lost(content, store, bool(here))
    if owner is None:
        owner = Owner(name, content["id"] or secrets.token_hex(16))
        copies.take(store, owner)
    elif owner.id != content["id"]:
        shared = {entry.digest for entry in here} & {entry.digest for entry in found.whole}
        if content["id"] or (here and not shared) or (not here and owner.run != name):
            said = f'checkpoint.mirror {store.shown} holds the checkpoints of another run, "{owner.run}"'
            said += f", begun apart from {state.run}" if owner.run == name else ""
            none = not (found.whole or found.faults)
            remedy = f"; or remove its {copies.OWNER}, if that run will not go on: it has no copies there yet" if none else ""
            raise Conflict(f"{said}; name another folder for this one{remedy}")
    damaged = [digest for digest in content["damaged"] if digest in {entry.digest for entry in found.whole}]
    state.note(id=owner.id, copied=[entry._asdict() for entry in found.whole], damaged=damaged)
    return found


def _lost(content: dict[str, Any], store: Store, has_checkpoints: bool) -> None:
    """Say that copies are gone which were there before."""
    if not content["copied"]:
        return
    said = f"{store.shown} holds none of the {len(content['copied'])} copies that were made there"
    if not has_checkpoints:
        raise CodeparrotError(
            f"{said}, and there are no checkpoints here: the run would begin again at step 0; bring them back (is the disk "
            "mounted?), or remove mirror.json of the run to do so"
        )
    logger.warning("%s (is the disk mounted?): they are made again", said)

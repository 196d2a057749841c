"""The stages of cleaning, in their order. Each prepares itself at its first text in a process."""

from typing import NamedTuple

from codeparrot.corpus import contamination
from codeparrot.corpus.clean import Cleaned, Stage
from codeparrot.corpus.settings import Settings

CONTAMINATED = "contaminated"


class Decontamination(NamedTuple):
    """Removes documents that hold a problem of a benchmark."""

    settings: contamination.Settings
    name: str = CONTAMINATED

    def clean(self, content: str) -> Cleaned:
        hits = contamination.Index.load(self.settings).hits(content)
        if not hits:
            return Cleaned(content)
        detail = ", ".join(f"{hit.benchmark} {hit.task_id} ({hit.how})" for hit in hits)
        return Cleaned(None, detail, {}, tuple(hit._asdict() for hit in hits))


def stages_of(settings: Settings) -> list[Stage]:
    """Return the stages that are on."""
    return [Decontamination(settings.contamination)] if settings.contamination.benchmarks else []


def rules(settings: Settings) -> dict[str, str]:
    """Return for every reason for which cleaning removes a document what that means, in words."""
    names = ", ".join(settings.contamination.benchmarks)
    return {CONTAMINATED: f"a problem of {names} is in it"} if names else {}

"""The stages of cleaning, in their order. Each prepares itself at its first text in a process."""

from typing import NamedTuple

from codeparrot.corpus.clean import Cleaned, Stage
from codeparrot.corpus.contamination import index as contamination
from codeparrot.corpus.secrets import redaction as secrets
from codeparrot.corpus.settings import Settings

CONTAMINATED = "contaminated"
SECRETS = "secrets"


class Decontamination(NamedTuple):
    """Removes documents that hold a problem of a benchmark."""

    settings: contamination.Settings
    name: str = CONTAMINATED

    def clean(self, content: str) -> Cleaned:
        hits = contamination.Index.load(self.settings).hits(content)
        if not hits:
            return Cleaned(content)
        detail = ", ".join(f"{hit.benchmark} {hit.task_id} ({hit.how})" for hit in hits)
        return Cleaned(None, detail, {}, tuple(hit._asdict() for hit in hits), content)


class Secrets(NamedTuple):
    """Replaces secrets and personal data by placeholders, or removes documents that hold any."""

    settings: secrets.Settings
    name: str = SECRETS

    def clean(self, content: str) -> Cleaned:
        redacted = secrets.redact(content, self.settings)
        if self.settings.mode == "drop" and redacted.counts:
            return Cleaned(None, ", ".join(redacted.counts), redacted.counts, (), redacted.content)
        return Cleaned(redacted.content, "", redacted.counts)


def stages_of(settings: Settings) -> list[Stage]:
    """Return the stages that are on."""
    decontamination: list[Stage] = [Decontamination(settings.contamination)] if settings.contamination.benchmarks else []
    return [*decontamination, *([Secrets(settings.secrets)] if settings.secrets.mode != "off" else [])]


def rules(settings: Settings) -> dict[str, str]:
    """Return for every reason for which cleaning removes a document what that means, in words."""
    names = ", ".join(settings.contamination.benchmarks)
    contaminated = {CONTAMINATED: f"a problem of {names} is in it"} if names else {}
    dropped = {SECRETS: f"{', '.join(settings.secrets.kinds)} in it"} if settings.secrets.mode == "drop" else {}
    return {**contaminated, **dropped}

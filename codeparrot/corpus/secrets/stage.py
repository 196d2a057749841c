"""The stage that replaces secrets and personal data with placeholders, or removes documents that hold any (redaction.py)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from codeparrot.corpus.secrets.credentials import PYTHON
from codeparrot.corpus.secrets.redaction import Kind, redact
from codeparrot.corpus.stage import Cleaned, Stage
from codeparrot.errors import CodeparrotError


@dataclass(frozen=True)
class Secrets(Stage):
    """What to do with passwords, keys and personal data."""

    mode: Literal["redact", "drop", "off"] = "redact"
    """redact: replace them with placeholders; drop: remove every file that holds one; off: do not look."""
    kinds: tuple[Kind, ...] = ("credentials", "emails", "ip_addresses")
    """What to look for."""

    title: ClassVar[str] = "Personal data and secrets"
    heading: ClassVar[str] = "secrets and personal data"
    reason: ClassVar[str] = "secrets"
    hides_samples: ClassVar[bool] = True

    @property
    def is_on(self) -> bool:
        return self.mode != "off"

    def check(self) -> None:
        """Raise CodeparrotError if there is no such mode or kind."""
        for name, values, known in (("mode", (self.mode,), ("redact", "drop", "off")), ("kinds", self.kinds, get_args(Kind))):
            for value in values:
                if value not in known:
                    raise CodeparrotError(f'secrets.{name}: there is no "{value}"; it can be {", ".join(known)}')

    def rule(self) -> str:
        return f"{', '.join(self.kinds)} in it" if self.mode == "drop" else ""

    def clean(self, content: str) -> Cleaned:
        return self.clean_in(content, PYTHON)

    def clean_in(self, content: str, language: str) -> Cleaned:
        redacted = redact(content, self.kinds, language)
        if self.mode == "drop" and redacted.counts:
            return Cleaned(None, ", ".join(redacted.counts), redacted.counts, (), redacted.content)
        return Cleaned(redacted.content, "", redacted.counts)

    @classmethod
    def findings(cls, name: str, statistics: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was found, with the mode; None if the stage was off, or if that is not recorded."""
        mode = statistics.get("settings", {}).get(name, {}).get("mode", "off")
        found = {"mode": mode, **(statistics.get(name) or {})}
        return {"files": 0, "kinds": {}, **found} if found["mode"] != "off" else None

    @classmethod
    def words(cls, found: Mapping[str, Any] | None) -> str:
        if found is None:
            return "They were neither looked for nor removed: the texts are as they were published."
        done = "replaced by placeholders" if found["mode"] == "redact" else "the files removed"
        return (
            "E-mail addresses, IP addresses, keys and passwords were looked for by patterns and by how random a text is, and "
            f"{done}; {found['files']:,} files held some. Patterns miss some, and names of people stay in the texts."
        )

    @classmethod
    def report(cls, found: Mapping[str, Any]) -> Iterator[str]:
        for line in super().report(found):
            yield f"{found['mode']}, {line}"

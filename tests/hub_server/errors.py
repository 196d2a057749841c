"""The Hub's error answers. The client turns `X-Error-Code` into its exceptions."""

from typing import Any


class HubError(Exception):
    """An answer with `status`; `code` is the Hub's name for it (RepoNotFound, RevisionNotFound, EntryNotFound, GatedRepo)."""

    def __init__(self, status: int, message: str, code: str | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.more = more
        """Further fields of the JSON body."""


def repository_not_found(status: int = 404) -> HubError:
    """401 answers clients without a token, who must not learn whether a private repository exists."""
    return HubError(status, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(message: str = "Entry not found") -> HubError:
    return HubError(404, message, "EntryNotFound")


def stale_parent() -> HubError:
    return HubError(412, "A commit has happened since. Please refresh and try again.")

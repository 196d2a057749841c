"""`codeparrot hub status` and `codeparrot hub push`: the queue of a run, shown and pushed by hand."""

import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeparrot.arguments import load_config
from codeparrot.checks import REPOSITORY
from codeparrot.config import HubConfig
from codeparrot.errors import CodeparrotError
from codeparrot.location import near, path_of
from codeparrot.publishing.ledger import Ledger
from codeparrot.result import Result, progress_bar

if TYPE_CHECKING:
    from codeparrot.publishing.uploader import Turn

SHOWN = 10


def status(run: str) -> Result:
    """Show which checkpoints of a run are on the Hub, which wait, and which were skipped. Reads only the run's hub.json.

    Args:
        run: Run folder.
    """
    ledger = Ledger(_folder(run))
    if not ledger.path.exists():
        raise CodeparrotError(f"{run} is not pushed anywhere: codeparrot hub push --run {run} --repo owner/name does it")
    pending, facts = ledger.pending(), ledger.read()
    with ledger.pushing() as free:
        working = not free
    return Result("\n".join(_lines(run, facts, working)), facts | {"uploader": working, "pending_bytes": _bytes(pending)})


def push(run: str, repo: str = "", branch: str = "", private: bool | None = None, patience_minutes: float = 10.0) -> Result:
    """Push the checkpoints of a run that the Hub does not have, and wait. Ctrl-C loses nothing: the same command goes on.

    Results of `codeparrot eval` that came after the push of the newest checkpoint are added to its card.

    Args:
        run: Run folder.
        repo: owner/name; default: where the run was pushed before, or its hub.repo.
        branch: Branch; default: the one the run was pushed to before, or the run's name.
        private: Whether a new repository is private; default: the run's hub.private, which is true unless its configuration
            says otherwise.
        patience_minutes: Give up when no push has succeeded for this long; the rest stays queued.
    """
    from tqdm import tqdm

    from codeparrot.publishing.uploader import HOPELESS, push_all, renew_card

    ledger = Ledger(_folder(run))
    with ledger.pushing() as free:
        if not free:
            raise CodeparrotError(f"{run} is being pushed already, by the run or another command: see codeparrot hub status")
        # Not before: the process that holds the right to push reads these settings.
        ledger.open(_settings(ledger, repo, branch, private))
        queue, start = ledger.pending(), time.monotonic()
        with progress_bar(total=_bytes(queue), desc="pushing", unit="B", unit_scale=True) as bar:
            done: list[str] = []

            def report(turn: "Turn") -> None:
                if turn.commit and turn.entry:
                    bar.update(turn.entry.num_bytes)
                    done.append(turn.commit)
                elif turn.error and turn.state not in HOPELESS:
                    tqdm.write(f"{turn.state}: {turn.error}; again in {turn.wait_seconds:.0f} s", file=sys.stderr)

            last = push_all(ledger, 60 * patience_minutes, report)
        card = None if ledger.pending() else renew_card(ledger)
    left, target = ledger.pending(), ledger.branch
    if left:
        remedy = f"codeparrot hub push --run {run} goes on with them"
        raise CodeparrotError(f"{len(left)} of {len(queue)} checkpoints are not on {target} ({last.error}); {remedy}")
    facts = {"repo": target.repo, "branch": target.branch, "pushed": len(done), "commits": done, "pending": 0, "card": card}
    text = f"{len(done)} checkpoints pushed to {target}" if done else f"every checkpoint of {run} is on {target} already"
    text += "; its card is renewed with what was measured since" if card else ""
    return Result(text, facts | {"seconds": time.monotonic() - start})


def _folder(run: str) -> Path:
    folder = path_of(run)
    if not (folder / "config.yaml").is_file():
        raise CodeparrotError(f'"{run}" is not a run: it has no config.yaml{near(run)}')
    return folder


def _settings(ledger: Ledger, repo: str, branch: str, private: bool | None) -> HubConfig:
    """Return where and how to push a run: as before or as configured, except for the given arguments.

    Raises:
        CodeparrotError: nothing says where, or the repository's name is invalid.
    """
    run, opened = ledger.run, ledger.path.exists()
    before = ledger.settings if opened else _configured(run)
    settings = replace(before, repo=repo or before.repo, branch=branch or before.branch)
    if not settings.repo:
        raise CodeparrotError(f"nothing says where {run} goes: name a --repo (owner/name)")
    if not REPOSITORY.fullmatch(settings.repo):
        raise CodeparrotError(f'--repo "{settings.repo}" is not the name of a repository; write owner/name')
    if private is not None:
        settings.private = private
    elif opened and settings.repo != before.repo:
        # An earlier --private false was meant for the previous repository, not for this one.
        settings.private = _configured(run).private
    return settings


def _configured(run: Path) -> HubConfig:
    config = load_config(run / "config.yaml")
    return replace(config.hub, branch=config.hub.branch or config.run.name)


def _lines(run: str, facts: dict[str, Any], working: bool) -> list[str]:
    state = "pushing now" if working and facts["state"] == "pushing" else facts["state"]
    why = f" ({facts['error']})" if facts["error"] else ""
    lines = [f"{run} -> {facts['repo']}@{facts['branch']}: {state}{why}"]
    for each in facts["pushed"][-SHOWN:]:
        when = datetime.fromtimestamp(each["pushed_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
        lines.append(f"  pushed   step {each['step']:>9,}  {each['commit'][:12]}  {when}")
    if len(facts["pushed"]) > SHOWN:
        lines.insert(1, f"  pushed   {len(facts['pushed']) - SHOWN} earlier ones")
    lines += [f"  pending  step {each['step']:>9,}  {each['num_bytes'] / 1e6:,.1f} MB" for each in facts["pending"]]
    lines += [f"  skipped  step {each['step']:>9,}  {each['reason']}" for each in facts["skipped"]]
    if facts["pending"] and not working:
        lines.append(f"codeparrot hub push --run {run} pushes what is pending")
    return lines


def _bytes(queue: list[Any]) -> int:
    return sum(entry.num_bytes for entry in queue)

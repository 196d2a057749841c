"""One commit makes main hold what a branch holds, never by accident."""

from pathlib import Path

import pytest

from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.publishing.ledger import Ledger
from codeparrot.publishing.promote import promote
from codeparrot.publishing.uploader import push_all
from tests.hub_server.fixture import HubServer
from tests.publishing.runs import make_run


@pytest.fixture
def run(here: HubServer, tmp_path: Path, tokenizer_folder: Path, request: pytest.FixtureRequest) -> Path:
    """A run whose two checkpoints are on its branch; the repository is named after the test."""
    repo = "me/" + "".join(each for each in request.node.name if each.isalnum())[:80]
    run = make_run(tmp_path / "run", tokenizer_folder, (8, 16), repo=repo)
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    push_all(ledger, 60, lambda turn: None)
    return run


def repo_of(run: Path) -> str:
    return Ledger(run).branch.repo


def test_one_commit_of_a_branch_can_be_chosen(here: HubServer, run: Path) -> None:
    repo = repo_of(run)
    first = here.commits(repo, "run")[1].oid
    result = promote(repo=repo, branch="run", commit=first[:10])
    assert result.data["commit"] == first
    assert here.files(repo, "main") == here.files(repo, first)
    promote(str(run))
    assert here.files(repo, "main") == here.files(repo, "run")
    assert len(here.commits(repo, "main")) == 3, "one commit each"


def test_files_of_an_earlier_main_that_the_branch_has_not_go(here: HubServer, run: Path) -> None:
    repo = repo_of(run)
    here.api().upload_file(repo_id=repo, path_or_fileobj=b"old", path_in_repo="old/notes.txt")
    promote(str(run))
    assert here.files(repo, "main") == here.files(repo, "run")


def test_a_main_that_moves_meanwhile_is_left_alone(here: HubServer, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = repo_of(run)
    from huggingface_hub import HfApi

    commit = HfApi.create_commit

    def somebody_is_faster(api: HfApi, *arguments: object, **options: object) -> object:
        monkeypatch.setattr(HfApi, "create_commit", commit)
        here.api().upload_file(repo_id=repo, path_or_fileobj=b"theirs", path_in_repo="theirs.txt")
        return commit(api, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "create_commit", somebody_is_faster)
    with pytest.raises(CodeparrotError, match=r"has moved on from .* and was not changed"):
        promote(str(run))
    assert here.files(repo, "main")["theirs.txt"] == b"theirs" and "model.safetensors" not in here.files(repo, "main")
    promote(str(run))
    assert here.files(repo, "main") == here.files(repo, "run")


def test_an_answer_that_is_lost_is_found_by_the_next_try(here: HubServer, run: Path) -> None:
    here.faults.lose_answer(times=1, path="/commit/")
    with pytest.raises(CodeparrotError, match="try again when the Hub can be reached"):
        promote(str(run))
    assert promote(str(run)).data["changed"] == 0
    assert len(here.commits(repo_of(run), "main")) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name a --run, or --repo and --branch"),
        ({"repo": "me/model"}, "name a --run, or --repo and --branch"),
        ({"repo": "me/model", "branch": "main"}, "main cannot be promoted to itself"),
        ({"repo": "me/model", "branch": "run", "commit": "HEAD~1"}, "is not a commit"),
        ({"repo": "me/nothing", "branch": "run"}, "cannot promote me/nothing@run"),
    ],
)
def test_what_cannot_be_meant_is_one_line(here: HubServer, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(CodeparrotError, match=message) as error:
        promote(**arguments)
    assert "\n" not in str(error.value)


def test_a_commit_of_another_branch_is_refused(here: HubServer, run: Path) -> None:
    with pytest.raises(CodeparrotError, match="has no commit"):
        promote(str(run), commit="0123456")

"""Commands that work a run's queue by hand."""

import json
import subprocess
from pathlib import Path

import pytest

from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.publishing.commands import push, status
from codeparrot.publishing.ledger import Ledger
from tests.hub_server.fixture import HubServer
from tests.publishing.runs import make_run
from tests.publishing.test_commit import COMMAND, assert_all_there


def test_a_run_that_was_trained_without_the_hub_is_pushed_afterwards(here: HubServer, tmp_path: Path, tokenizer_folder) -> None:
    run = make_run(tmp_path / "afterwards", tokenizer_folder, (8, 16), repo="", branch="")
    with pytest.raises(CodeparrotError, match="is not pushed anywhere: codeparrot hub push"):
        status(str(run))
    with pytest.raises(CodeparrotError, match=r"name a --repo \(owner/name\)"):
        push(str(run))
    with pytest.raises(CodeparrotError, match='--repo "model" is not the name of a repository; write owner/name'):
        push(str(run), repo="model")
    assert not (run / "hub.json").exists(), "a wrong name is not kept"
    result = push(str(run), repo="me/model")
    assert result.data["pushed"] == 2 and result.data["branch"] == "afterwards"
    assert_all_there(here, run, (8, 16))
    assert "is on me/model@afterwards already" in push(str(run)).text


@pytest.mark.parametrize("opened", [True, False], ids=["hub.json", "no-hub.json"])
@pytest.mark.parametrize(("own", "given"), [(False, True), (True, False), (False, None), (True, None)])
def test_a_repository_is_private_as_the_option_says_or_else_as_the_run(
    here: HubServer, tmp_path: Path, tokenizer_folder, opened: bool, own: bool, given: bool | None
) -> None:
    run = make_run(tmp_path / "run", tokenizer_folder, (8,), private=own)
    if opened:
        Ledger(run).open(load_config(run / "config.yaml").hub)
    repo = f"me/other-{opened}-{own}-{given}"
    push(str(run), repo=repo, private=given)
    assert here.api().repo_info(repo).private is (own if given is None else given)


def test_one_public_repository_makes_no_other_one_public(here: HubServer, tmp_path: Path, tokenizer_folder) -> None:
    run = make_run(tmp_path / "run", tokenizer_folder, (8,))
    push(str(run), repo="me/shown", private=False)
    push(str(run), repo="me/hidden")
    assert (here.api().repo_info("me/shown").private, here.api().repo_info("me/hidden").private) == (False, True)


@pytest.mark.parametrize("opened", [True, False], ids=["hub.json", "no-hub.json"])
def test_a_push_that_is_refused_leaves_the_run_where_it_goes(tmp_path: Path, tokenizer_folder, opened: bool) -> None:
    run = make_run(tmp_path / "busy", tokenizer_folder, (8,))
    ledger = Ledger(run)
    if opened:
        ledger.open(load_config(run / "config.yaml").hub)
    before = ledger.path.read_bytes() if opened else None
    with ledger.pushing() as free, pytest.raises(CodeparrotError, match="is being pushed already"):
        assert free
        push(str(run), repo="me/other", branch="another")
    assert (ledger.path.read_bytes() if ledger.path.exists() else None) == before


def test_status_says_what_is_there_what_waits_and_what_was_left_out(here: HubServer, tmp_path: Path, tokenizer_folder) -> None:
    run = make_run(tmp_path / "seen", tokenizer_folder, (8, 16))
    here.faults.answer(503, path="/commit/", skip=1)
    with pytest.raises(CodeparrotError, match="1 of 2 checkpoints are not on me/model@seen"):
        push(str(run), repo="me/model", patience_minutes=0.0)
    result = status(str(run))
    first, *lines, last = result.text.splitlines()
    assert first.startswith(f"{run} -> me/model@seen: unreachable (") and "503" in first
    assert lines[0].startswith("  pushed   step         8") and lines[1].startswith("  pending  step        16")
    assert last == f"codeparrot hub push --run {run} pushes what is pending"
    assert [each["step"] for each in result.data["pushed"]] == [8] and result.data["pending_bytes"] > 50_000


@pytest.mark.parametrize("command", ["status", "push"])
def test_what_is_no_run_is_one_line(command: str, tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "hub", command, "--run", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f'codeparrot: error: "{tmp_path}" is not a run: it has no config.yaml\n')


@pytest.mark.slow
def test_a_push_as_json_is_one_object(here: HubServer, tmp_path: Path, tokenizer_folder) -> None:
    run = make_run(tmp_path / "machine", tokenizer_folder, (8,))
    command = [*COMMAND, "hub", "push", "--run", run, "--repo", "me/model", "--json"]
    done = subprocess.run(command, env=here.environment(), capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert facts["commits"] == [here.commits("me/model", "machine")[1].oid] and facts["pending"] == 0


def test_a_push_without_a_token_says_so_once(tmp_path: Path, tokenizer_folder, hub: HubServer) -> None:
    run = make_run(tmp_path / "alone", tokenizer_folder, (8,), repo="", branch="")
    command = [*COMMAND, "hub", "push", "--run", run, "--repo", "me/model"]
    environment = hub.environment(home=tmp_path / "home") | {"HF_TOKEN": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("there is no token here") == 1 and "again in" not in done.stderr

"""The server is a Hub to the unmodified client."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server.fixture import HubServer

WEIGHTS = os.urandom(100_000)


def add(path: str, content: bytes = b"text\n") -> CommitOperationAdd:
    return CommitOperationAdd(path, content)


def new_repo(hub: HubServer, name: str) -> str:
    return hub.api().create_repo(f"me/{name}").repo_id


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}\n")
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    (folder / "plots").mkdir()
    (folder / "plots" / "the loss.png").write_bytes(b"\x89PNG\0" * 100)
    return folder


@pytest.fixture(scope="module")
def repo(hub: HubServer, folder: Path) -> str:
    """A repository with one commit on the branch `run/a`."""
    repo = new_repo(hub, "model")
    hub.api().create_branch(repo, branch="run/a")
    hub.api().upload_folder(repo_id=repo, folder_path=folder, revision="run/a", commit_message="step 10")
    return repo


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".gitattributes")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_folder_is_a_commit_on_its_branch_alone(hub: HubServer, repo: str, folder: Path) -> None:
    assert [commit.title for commit in hub.commits(repo, "run/a")] == ["initial commit", "step 10"]
    files = hub.files(repo, "run/a")
    assert {path: files[path] for path in files if path != ".gitattributes"} == contents(folder)
    assert list(hub.files(repo)) == [".gitattributes"]


def test_what_was_committed_is_listed(hub: HubServer, repo: str) -> None:
    api = hub.api()
    oids = [commit.commit_id for commit in api.list_repo_commits(repo, revision="run/a")]
    assert oids == [commit.oid for commit in hub.commits(repo, "run/a")][::-1]
    assert {ref.name: ref.target_commit for ref in api.list_repo_refs(repo).branches} == {"main": oids[1], "run/a": oids[0]}
    info = api.model_info(repo, revision="run/a", files_metadata=True)
    assert (info.sha, info.private) == (oids[0], False)
    weights = next(each for each in info.siblings or [] if each.rfilename == "model.safetensors")
    assert weights.lfs and (weights.size, weights.lfs.size) == (100_000, 100_000)
    tree = list(api.list_repo_tree(repo, revision=oids[0][:7], expand=True))
    assert [each.path for each in tree] == [".gitattributes", "README.md", "config.json", "model.safetensors", "plots"]
    assert all(each.last_commit and each.last_commit.title == "step 10" for each in tree)
    assert [each.path for each in api.list_repo_tree(repo, "plots", revision="run/a")] == ["plots/the loss.png"]


@pytest.mark.parametrize("path", ["config.json", "model.safetensors", "plots/the loss.png"])
def test_a_file_is_downloaded_by_revision(hub: HubServer, repo: str, folder: Path, tmp_path: Path, path: str) -> None:
    found = hf_hub_download(repo, path, revision="run/a", endpoint=hub.url, token=hub.token, cache_dir=tmp_path)
    assert Path(found).read_bytes() == (folder / path).read_bytes()
    assert hub.commits(repo, "run/a")[-1].oid in found


def test_a_snapshot_is_what_was_uploaded(hub: HubServer, repo: str, folder: Path, tmp_path: Path) -> None:
    found = snapshot_download(repo, revision="run/a", endpoint=hub.url, token=hub.token, cache_dir=tmp_path)
    assert contents(Path(found)) == contents(folder)


def test_a_branch_is_copied_to_main_without_an_upload_of_lfs_objects(hub: HubServer, folder: Path) -> None:
    api, repo = hub.api(), new_repo(hub, "copied")
    api.create_branch(repo, branch="run")
    api.upload_folder(repo_id=repo, folder_path=folder, revision="run", delete_patterns="*")
    hub.forget_requests()
    copies = [CommitOperationCopy(path, path, src_revision="run") for path in hub.files(repo, "run")]
    api.create_commit(repo, copies, commit_message="promote", parent_commit=hub.commits(repo)[-1].oid)
    assert hub.files(repo) == hub.files(repo, "run")
    assert hub.lfs_bytes == 0
    assert [commit.title for commit in hub.commits(repo)] == ["initial commit", "promote"]


def test_content_that_is_there_is_neither_uploaded_nor_committed_again(hub: HubServer, folder: Path) -> None:
    repo = new_repo(hub, "twice")
    for _ in range(2):
        hub.api().upload_folder(repo_id=repo, folder_path=folder)
    assert hub.api().upload_file(path_or_fileobj=WEIGHTS, path_in_repo="other.safetensors", repo_id=repo)
    assert len(hub.commits(repo)) == 3
    oids = [each["path"] for each in hub.requests if each["method"] == "PUT" and "/twice/" in each["path"]]
    assert len(oids) == len(set(oids)) == 2


def test_files_and_folders_are_deleted(hub: HubServer) -> None:
    api, repo = hub.api(), new_repo(hub, "deleted")
    api.create_commit(repo, [add(path) for path in ("a", "b/c", "b/d", "e")], commit_message="add")
    operations = [CommitOperationDelete("a"), CommitOperationDelete("b/"), add("b")]
    api.create_commit(repo, operations, commit_message="a file in the place of a folder")
    assert list(hub.files(repo)) == [".gitattributes", "b", "e"]
    with pytest.raises(EntryNotFoundError, match="A file with this name doesn't exist"):
        api.delete_file("a", repo)
    assert len(hub.commits(repo)) == 3


def test_a_commit_cannot_name_an_lfs_object_that_was_not_uploaded(hub: HubServer) -> None:
    repo = new_repo(hub, "missing")
    operation = add("model.safetensors", WEIGHTS)
    operation._upload_mode, operation._is_uploaded = "lfs", True  # the client believes so after an upload
    with pytest.raises(BadRequestError, match="pointed to a file that does not exist"):
        hub.api().create_commit(repo, [operation], commit_message="a pointer to nothing")
    assert len(hub.commits(repo)) == 1


def test_an_lfs_object_is_what_its_name_says_or_is_not_kept(hub: HubServer) -> None:
    repo, content = new_repo(hub, "objects"), os.urandom(1_000)
    wanted = {"operation": "upload", "objects": [{"oid": hashlib.sha256(content).hexdigest(), "size": 1_000}]}

    def upload_url() -> str | None:
        headers = {"Authorization": f"Bearer {hub.token}"}
        answer = httpx2.post(f"{hub.url}/{repo}.git/info/lfs/objects/batch", json=wanted, headers=headers).json()
        return answer["objects"][0].get("actions", {}).get("upload", {}).get("href")

    url = upload_url()
    assert url
    assert httpx2.put(url.partition("?")[0], content=content).status_code == 403
    assert httpx2.put(url, content=content[::-1]).status_code == 400
    assert upload_url() == url
    assert httpx2.put(url, content=content).status_code == 200
    assert upload_url() is None


def test_a_stale_parent_is_refused(hub: HubServer) -> None:
    api, repo = hub.api(), new_repo(hub, "stale")
    parent = hub.commits(repo)[-1].oid
    api.create_commit(repo, [add("a")], commit_message="first", parent_commit=parent)
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as caught:
        api.create_commit(repo, [add("b")], commit_message="second", parent_commit=parent)
    assert caught.value.response.status_code == 412
    assert [commit.title for commit in hub.commits(repo)] == ["initial commit", "first"]


def test_of_concurrent_commits_none_is_lost_and_one_has_the_parent_that_all_name(hub: HubServer) -> None:
    api, repo = hub.api(), new_repo(hub, "concurrent")

    def commit(name: str, parent: str | None) -> bool:
        try:
            api.create_commit(repo, [add(name)], commit_message=name, parent_commit=parent)
        except HfHubHTTPError as error:
            assert error.response.status_code == 412
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: commit(f"free {number}", None), range(8)))
        parent = hub.commits(repo)[-1].oid
        assert sum(pool.map(lambda number: commit(f"named {number}", parent), range(8))) == 1
    assert len(hub.commits(repo)) == len(hub.files(repo)) == 1 + 8 + 1


def test_branches_and_tags_come_and_go(hub: HubServer) -> None:
    api, repo = hub.api(), new_repo(hub, "refs")
    first = hub.commits(repo)[0].oid
    api.create_commit(repo, [add("a")], commit_message="a")
    api.create_branch(repo, branch="old", revision=first)
    api.create_branch(repo, branch="old", exist_ok=True)
    api.create_tag(repo, tag="v1", revision="old")
    assert [ref.target_commit for ref in api.list_repo_refs(repo).tags] == [first]
    assert api.file_exists(repo, "a", revision="main") and not api.file_exists(repo, "a", revision="v1")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_branch(repo, branch="old")
    api.delete_branch(repo, branch="old")
    api.delete_tag(repo, tag="v1")
    assert not api.revision_exists(repo, "old")
    with pytest.raises(RevisionNotFoundError):
        api.create_commit(repo, [add("b")], commit_message="b", revision="old")


def test_a_pull_request_is_merged_into_main(hub: HubServer) -> None:
    api, repo = hub.api(), new_repo(hub, "pull")
    made = api.create_commit(repo, [add("a")], commit_message="propose", create_pr=True)
    assert made.pr_num == 1 and made.pr_revision
    api.create_commit(repo, [add("b")], commit_message="meanwhile")
    assert list(hub.files(repo)) == [".gitattributes", "b"]
    assert list(hub.files(repo, made.pr_revision)) == [".gitattributes", "a"]
    api.merge_pull_request(repo, made.pr_num)
    assert list(hub.files(repo)) == [".gitattributes", "a", "b"]
    assert api.get_discussion_details(repo, 1).status == "merged"


def test_a_repository_is_created_once_and_deleted(hub: HubServer) -> None:
    api = hub.api()
    for kind in ("model", "dataset"):
        made = api.create_repo("me/created", private=True, repo_type=kind)
        assert api.create_repo("me/created", exist_ok=True, repo_type=kind) == made
        assert (made.repo_id, made.repo_type) == ("me/created", kind)
        assert api.repo_info("me/created", repo_type=kind).private
        with pytest.raises(HfHubHTTPError, match="You already created"):
            api.create_repo("me/created", repo_type=kind)
        api.delete_repo("me/created", repo_type=kind)
        assert not api.repo_exists("me/created", repo_type=kind)


def test_what_is_not_there_is_the_clients_own_exception(hub: HubServer, repo: str, tmp_path: Path) -> None:
    where = {"endpoint": hub.url, "token": hub.token, "cache_dir": tmp_path}
    with pytest.raises(RepositoryNotFoundError):
        hf_hub_download("me/nothing", "config.json", **where)
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(repo, "config.json", revision="main~1", **where)
    with pytest.raises(RemoteEntryNotFoundError):
        hf_hub_download(repo, "nothing", **where)
    with pytest.raises(RepositoryNotFoundError):
        hub.api().create_commit("me/nothing", [add("a")], commit_message="a")
    number = hub.faults.answer(403, code="GatedRepo")
    with pytest.raises(GatedRepoError):
        hub.api().model_info(repo)
    hub.faults.remove(number)


def test_a_token_may_do_what_its_role_says(hub: HubServer, repo: str) -> None:
    hub.api().create_repo("me/secret", private=True, exist_ok=True)
    reader, stranger, liar = hub.api(hub.read_token), hub.api(), hub.api("hf_" + "x" * 34)
    stranger.token = False
    assert (reader.whoami()["name"], hub.api().whoami()["auth"]["accessToken"]["role"]) == ("reader", "write")
    assert reader.model_info("me/secret") and stranger.model_info(repo)
    with pytest.raises(HfHubHTTPError, match=r"403 Forbidden.*you must use a write token"):
        reader.create_commit(repo, [add("a")], commit_message="a")
    for call in (stranger.create_branch, stranger.delete_branch):
        with pytest.raises(RepositoryNotFoundError):
            call(repo, branch="mine")
    with pytest.raises(RepositoryNotFoundError):
        stranger.model_info("me/secret")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials in Authorization header"):
        liar.model_info(repo)


def test_no_file_of_the_server_holds_a_token(hub: HubServer, repo: str) -> None:
    assert hub.folder.exists()
    for path in hub.folder.rglob("*"):
        assert path.is_dir() or hub.token.encode() not in path.read_bytes(), path
    assert hub.token not in str(hub.requests)


def test_it_is_started_by_hand(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hub_server", "--folder", tmp_path / "hub"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        words = dict(word.split("=") for word in process.stdout.readline().split() if "=" in word)
        script = "import huggingface_hub; print(huggingface_hub.HfApi().whoami()['name'])"
        environment = {**os.environ, **words, "HF_HOME": str(tmp_path / "home")}
        assert subprocess.check_output([sys.executable, "-c", script], env=environment, text=True) == "me\n"
        process.terminate()

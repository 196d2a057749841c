"""Everything that loads from the Hub loads from this one: transformers, datasets and git."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tests.hub_server.fixture import HubServer

SCRIPT = """
import json, sys, datasets, torch, transformers
model = transformers.AutoModelForCausalLM.from_pretrained("me/model", revision="run/a")
logits = model(torch.arange(8)[None]).logits.flatten().tolist()
rows = list(datasets.load_dataset("me/corpus", revision="v1", split="train", streaming=True))
print(json.dumps([logits, rows]))
"""


@pytest.mark.slow
def test_transformers_and_datasets_load_by_revision(hub: HubServer, tmp_path: Path) -> None:
    api = hub.api()
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=64, n_positions=16)).eval()
    model.save_pretrained(tmp_path / "model")
    api.create_repo("me/model", private=True)
    api.create_branch("me/model", branch="run/a")
    api.upload_folder(repo_id="me/model", folder_path=tmp_path / "model", revision="run/a")

    api.create_repo("me/corpus", repo_type="dataset")
    rows = [{"content": f"print({number})"} for number in range(100)]
    for number in range(2):
        path = tmp_path / f"train-{number:05}-of-00002.parquet"
        pq.write_table(pa.Table.from_pylist(rows[number * 50 : number * 50 + 50]), path)
        api.upload_file(path_or_fileobj=path, path_in_repo=f"data/{path.name}", repo_id="me/corpus", repo_type="dataset")
    api.create_tag("me/corpus", tag="v1", repo_type="dataset")
    api.delete_folder("data", "me/corpus", repo_type="dataset")

    command = [sys.executable, "-c", SCRIPT]
    output = subprocess.check_output(command, env=hub.environment(tmp_path / "home"), text=True)
    logits, loaded = json.loads(output)
    assert logits == model(torch.arange(8)[None]).logits.flatten().tolist()
    assert loaded == rows


@pytest.mark.slow
def test_git_clones_and_pushes_with_the_files_of_lfs(hub: HubServer, tmp_path: Path) -> None:
    if not shutil.which("git-lfs"):
        # Continuous integration installs it: a skip there would hide that nothing was tested.
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("git-lfs is not installed")
    repo = hub.api().create_repo("me/cloned", private=True).repo_id
    weights = os.urandom(50_000)
    for path, content in {"model.safetensors": weights, "a plot.png": b"\0" * 9, "config.json": b"{}\n"}.items():
        hub.api().upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo)

    environment = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=me", "-c", "user.email=me@localhost"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, env=environment, capture_output=True, check=True)

    git("lfs", "install")
    git("clone", f"http://me:{hub.token}@127.0.0.1:{hub.port}/{repo}", "clone")
    clone = tmp_path / "clone"
    assert ((clone / "model.safetensors").read_bytes(), (clone / "a plot.png").read_bytes()) == (weights, b"\0" * 9)
    assert (clone / "config.json").read_text() == "{}\n"

    (clone / "model.safetensors").write_bytes(weights[::-1])
    git("-C", "clone", "commit", "--all", "--message", "by hand")
    git("-C", "clone", "push")
    assert hub.commits(repo)[-1].title == "by hand"
    assert hub.files(repo)["model.safetensors"] == weights[::-1]
    with pytest.raises(subprocess.CalledProcessError, match="128"):
        git("clone", f"http://127.0.0.1:{hub.port}/{repo}", "stranger")

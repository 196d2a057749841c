"""The model card says what the Hub can read and what a person must know, and reveals no path of this machine."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from codeparrot.arguments import load_config
from codeparrot.errors import CodeparrotError
from codeparrot.publishing.commands import push
from codeparrot.publishing.ledger import Ledger
from codeparrot.publishing.uploader import push_all
from tests.hub_server.fixture import HubServer
from tests.publishing.runs import make_run

SPLIT = {"documents": 3, "bytes": 99, "licenses": {"mit": {"documents": 2}, "bsd-3-clause": {"documents": 1}}}


def card_of(hub: HubServer, run: Path) -> tuple[dict, str]:
    ledger = Ledger(run)
    ledger.open(load_config(run / "config.yaml").hub)
    push_all(ledger, 60, lambda turn: None)
    _, front, body = hub.files("me/model", run.name)["README.md"].decode().split("---\n", 2)
    return yaml.safe_load(front), body


def report(name: str, mean: float, **settings: object) -> str:
    best = {"pass@1": {"temperature": 0.2, "mean": mean, "low": 0.0, "high": 0.5}}
    facts = {"problems": 21, "samples": 210, "problem_set": {"name": name}, "best": best, "pass@1": mean, "settings": settings}
    return json.dumps(facts)


def test_results_are_in_the_model_index_and_in_the_tables(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "card", tokenizer_folder, (8, 16))
    tested = {"step": 16, "tokens": 4096, "pass@1": 0.25, "problems": "codeparrot", "prompt_style": "healed"}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"step": 16, "tokens": 4096, "solution_bits_per_byte": 1.5, "problems": "own"}) + "\n")
        log.write(json.dumps(tested) + "\n")
        scores = {"infilling_pass@1": 0.3, "infilling_exact_match": 0.2, "problems": "infilling-own", "fim_order": "psm"}
        log.write(json.dumps({"step": 16, "tokens": 4096, **scores}) + "\n")
    likely = run / "eval" / "likelihood-humaneval" / "step_00000016" / "report.json"
    likely.parent.mkdir(parents=True)
    facts = {"problems": 164, "samples": 0, "problem_set": {"name": "humaneval"}, "best": {}}
    likely.write_text(json.dumps({**facts, "solution_bits_per_byte": 0.75}), encoding="utf-8")
    for step, mean in ((8, 0.1), (16, 0.125), (24, 0.9)):
        place = run / "eval" / "humaneval" / f"step_{step:08d}"
        place.mkdir(parents=True)
        (place / "report.json").write_text(report("humaneval", mean, strip_prompt=True), encoding="utf-8")
    place = run / "eval" / "infilling-single-line" / "step_00000016"
    place.mkdir(parents=True)
    middles = json.loads(report("infilling-single-line", 0.25, fim_order="spm"))
    middles |= {"exact_match": 0.5, "best": {**middles["best"], "exact_match": {**middles["best"]["pass@1"], "mean": 0.5}}}
    (place / "report.json").write_text(json.dumps(middles), encoding="utf-8")
    front, body = card_of(here, run)
    (model,) = front["model-index"]
    found = {
        (result["dataset"]["name"], metric["type"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    valid = "validation set of the run"
    assert found == {
        **{(valid, "loss"): 5.84, (valid, "perplexity"): 400.0, (valid, "bits_per_byte"): 4.0},
        **{("codeparrot, healed prompts", "pass@1"): 0.25, ("humaneval, stripped prompts", "pass@1"): 0.125},
        **{("infilling-own, psm", "infilling_pass@1"): 0.3, ("infilling-own, psm", "infilling_exact_match"): 0.2},
        ("own, reference solutions", "solution_bits_per_byte"): 1.5,
        ("humaneval, reference solutions", "solution_bits_per_byte"): 0.75,
        **{("infilling-single-line, spm", "pass@1"): 0.25, ("infilling-single-line, spm", "exact_match"): 0.5},
    }
    types = {result["dataset"]["name"]: result["dataset"]["type"] for result in model["results"]}
    assert types["humaneval, stripped prompts"] == "openai/openai_humaneval"
    assert "pass@k of this table is of codeparrot, healed prompts; infilling-own, psm." in body
    assert "Solutions of this table are those of own." in body
    measures = "bits per byte of solutions | infilling_exact_match | infilling_pass@1 | pass@1"
    assert f"| step | tokens | loss | perplexity | bits per byte | {measures} |" in body
    assert "| 16 | infilling-single-line | spm | 21 | 210 | pass@1 | 0.2: 25.00%, 0.00% to 50.00% |" in body
    assert "| 16 | humaneval | stripped | 21 | 210 | pass@1 | 0.2: 12.50%, 0.00% to 50.00% |" in body
    assert "| 16 | humaneval | 164 | 0.75 |" in body
    assert "90.00%" not in body, "what is measured later is of a later commit"


def test_scores_of_the_first_problems_are_in_the_tables_alone(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "part", tokenizer_folder, (16,))
    of = {"problem_set": {"name": "own", "problems": 51}, "problems": 5}
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"step": 16, "tokens": 4096, "pass@1": 0.25, "problems": "own", "limit": 5}) + "\n")
    likely = {"samples": 0, "best": {}, "solution_bits_per_byte": 0.75}
    measures = {name: {"temperature": 0.0, "mean": 0.5, "low": 0.25, "high": 0.75} for name in ("pass@1", "exact_match")}
    tested = {**dict.fromkeys(measures, 0.5), "samples": 5, "best": measures}
    for number in range(9):
        for name, found in (("own", tested), ("likelihood-own", likely)):
            place = run / "eval" / f"{name}-{number}" / "step_00000016"
            place.mkdir(parents=True)
            (place / "report.json").write_text(json.dumps({**of, **found}), encoding="utf-8")
    front, body = card_of(here, run)
    names = {result["dataset"]["name"] for result in front["model-index"][0]["results"]}
    assert names == {"validation set of the run"}
    assert body.count("| 16 | own |  | 5 of 51 | 5 | pass@1 |") == body.count("| exact_match |") == 9, "no report in part"
    assert "| 16 | own | 5 of 51 | 0.75 |" in body
    assert "pass@k of this table is of the first 5 of own, exact prompts." in body


def test_what_was_measured_on_a_sample_is_called_so(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "sampled", tokenizer_folder, (8,))
    metrics = run / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    marked = [{**line, "eval_sample": True} if "eval_loss" in line else line for line in lines]
    metrics.write_text("".join(json.dumps(line) + "\n" for line in marked), encoding="utf-8")
    front, body = card_of(here, run)
    names = {result["dataset"]["name"] for result in front["model-index"][0]["results"]}
    assert names == {"a sample of the validation set of the run"}
    assert r"| 8\* |" in body and "of steps with a star are those of a sample of the validation set of the run." in body
    assert any("eval loss 5.92" in commit.title for commit in here.commits("me/model", "sampled"))


def test_further_validation_sets_have_a_table_and_their_own_results(
    here: HubServer, tmp_path: Path, tokenizer_folder: Path
) -> None:
    run = make_run(tmp_path / "further", tokenizer_folder, (8, 16))
    with (run / "metrics.jsonl").open("a", encoding="utf-8") as log:
        for step, name, value in ((8, "go", 3.5), (8, "tests", 3.0), (16, "go", 2.5), (16, "tests", 2.25)):
            numbers = {"set_loss": value + 1, "set_perplexity": 20.0, "set_bits_per_byte": value, "set_tokens": 900}
            line = {"step": step, "tokens": step * 256, "set": name, **numbers, "set_sample": name == "go" and step == 8}
            log.write(json.dumps(line) + "\n")
    front, body = card_of(here, run)
    results = front["model-index"][0]["results"]
    found = {(each["dataset"]["name"], metric["type"]): metric["value"] for each in results for metric in each["metrics"]}
    of_go, of_tests = (f"{name}, a further validation set of the run" for name in ("go", "tests"))
    assert found[of_go, "bits_per_byte"] == 2.5 and found[of_tests, "loss"] == 3.25
    assert found["validation set of the run", "bits_per_byte"] == 4.0
    _, table = body.split("### Bits per byte of further validation sets")
    assert "| step | tokens | go | tests |" in table
    assert r"| 8\* | 2,048 | 3.5 | 3 |" in table and "| 16 | 4,096 | 2.5 | 2.25 |" in table


def test_data_and_licences_are_told_and_paths_are_not(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    corpus = tmp_path / "somewhere" / "my-corpus"
    corpus.mkdir(parents=True)
    (corpus / "statistics.json").write_text(json.dumps(SPLIT), encoding="utf-8")
    run = make_run(tmp_path / "data", tokenizer_folder, (8,), train=[str(corpus), "me/corpus@v1"])
    front, body = card_of(here, run)
    assert front["datasets"] == ["me/corpus"]
    assert "- `my-corpus`: 3 documents, 99 bytes of text. Licences, with their documents: mit (2), bsd-3-clause (1)" in body
    assert "- `me/corpus@v1`" in body and str(tmp_path) not in body


def test_a_run_that_began_at_a_checkpoint_of_another_names_it(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    from codeparrot.run import parent

    place = make_run(tmp_path / "long", tokenizer_folder, (8,)) / "checkpoints" / "step_00000008"
    card_of(here, place.parent.parent)
    (pushed,) = Ledger(place.parent.parent).read()["pushed"]
    facts = parent.facts_of(place)
    commit = {"repo": "me/model", "branch": "long", "commit": pushed["commit"]}
    assert (facts["digest"], facts["commit"]) == (pushed["digest"], commit)
    child = make_run(tmp_path / "cool", tokenizer_folder, (16,))
    manifest = child / "checkpoints" / "step_00000016" / "manifest.json"
    content = json.loads(manifest.read_text(encoding="utf-8"))
    content["config"]["schedule"]["decay_now"] = 0.5
    manifest.write_text(json.dumps(content | {"origin": {"step": 0, "parent": facts}}), encoding="utf-8")
    body = card_of(here, child)[1]
    assert (
        f"It began at step 8 (2,048 tokens) of the run long (checkpoint {facts['digest']}, `me/model@{pushed['commit']}`"
        in body
    )
    assert "decays from there to the end, over 0.5 of the run" in body and str(tmp_path) not in body


def test_what_is_measured_behind_the_push_comes_onto_the_card(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "later", tokenizer_folder, (8, 16))
    front, _ = card_of(here, run)
    place = run / "eval" / "humaneval" / "step_00000016"
    place.mkdir(parents=True)
    (place / "report.json").write_text(report("humaneval", 0.125), encoding="utf-8")
    before = here.commits("me/model", "later")
    result = push(str(run))
    assert result.data["pushed"] == 0 and "card is renewed" in result.text
    after = here.commits("me/model", "later")
    assert [commit.oid for commit in after] == [*(commit.oid for commit in before), result.data["card"]]
    files = here.files("me/model", "later")
    renewed = yaml.safe_load(files["README.md"].decode().split("---\n", 2)[1])
    assert len(renewed["model-index"][0]["results"]) == len(front["model-index"][0]["results"]) + 1
    assert files | {"README.md": b""} == here.files("me/model", before[-1].oid) | {"README.md": b""}, "nothing else changed"
    assert push(str(run)).data["card"] is None, "the same card is not committed again"
    shutil.rmtree(run / "checkpoints" / "step_00000016")
    assert push(str(run)).data["card"] is None, "a checkpoint that is gone has no card to be made"


def test_a_card_that_cannot_be_renewed_is_one_line(here: HubServer, tmp_path: Path, tokenizer_folder: Path) -> None:
    run = make_run(tmp_path / "unlucky", tokenizer_folder, (8,))
    card_of(here, run)
    here.faults.answer(503, path="/paths-info/", times=20)
    with pytest.raises(CodeparrotError, match=r"the card on me/model@unlucky is not renewed: .*503"):
        push(str(run))


def test_damaged_files_beside_the_run_do_not_keep_it_from_the_hub(
    here: HubServer, tmp_path: Path, tokenizer_folder: Path
) -> None:
    corpus = tmp_path / "my-corpus"
    corpus.mkdir()
    (corpus / "statistics.json").write_bytes(bytes(99))
    run = make_run(tmp_path / "beside", tokenizer_folder, (8,), train=[str(corpus)])
    with (run / "metrics.jsonl").open("ab") as log:
        log.write(bytes(64) + b'\n\n{"step": 8, "perplexity": 3.0}\n{"step": 8, "tokens": 9, "pass@1": "half"}\n')
    for name, text in (("humaneval", report("humaneval", 0.25)), ("mbpp", "{")):
        place = run / "eval" / name / "step_00000008"
        place.mkdir(parents=True)
        (place / "report.json").write_text(text, encoding="utf-8")
    _, body = card_of(here, run)
    assert "25.00%" in body and "- `my-corpus`\n" in body and "half" not in body


def test_the_card_has_the_languages_of_the_last_evaluation() -> None:
    from codeparrot.publishing.card import _languages

    of = {"go": {"loss": 1.5, "bits_per_byte": 0.7, "tokens": 1200}, "rust": {"loss": 2.0, "bits_per_byte": None, "tokens": 7}}
    rows = [{"step": 1, "eval_languages": {"go": {}}, "eval_sample": True}, {"step": 9, "eval_languages": of}, {"step": 10}]
    text = "\n".join(_languages(rows))
    assert "### By language" in text and "Of the validation set of the run, at step 9." in text
    assert "| go | 1,200 | 1.5" in text and _languages([{"step": 1}]) == []

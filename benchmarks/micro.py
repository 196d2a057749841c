"""What configs/micro.yaml reaches, on this machine's own Python sources: the figures of the README's "Behind the quickstart".

It builds the corpus and trains the tokenizer and the model once, into data/benchmarks/micro, in half an hour and more on two
cores; what is there is measured again. There is no peer: the README shows what such a model can do.
"""

import json
import statistics

from benchmarks.common import DATA, codeparrot, report

FOLDER = DATA / "micro"
CORPUS, TOKENIZER, RUN = FOLDER / "corpus", FOLDER / "tokenizer", FOLDER / "runs" / "micro"
NEW_TOKENS = 48
PROMPT = 'def read_lines(filename):\n    """Return the lines of a text file."""\n    with open(filename) as '
METHOD = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n"
BEFORE = (
    "def count_words(path):\n    counts = {}\n    with open(path) as file:\n        for line in file:\n"
    "            for word in line.split():\n                counts[word] = "
)
BEHIND = "\n    return counts\n"


def prepare() -> None:
    if not CORPUS.exists():
        codeparrot("corpus", "build", "--source", "python", "--recipe", "codeparrot", "--output", str(CORPUS))
    if not TOKENIZER.exists():
        codeparrot("tokenizer", "train", "--corpus", str(CORPUS), "--vocab_size", "8192", "--output", str(TOKENIZER))
    if not (RUN / "status.json").exists() or json.loads((RUN / "status.json").read_text())["state"] != "finished":
        data = ("--tokenizer.path", str(TOKENIZER), "--stream.train", str(CORPUS), "--stream.valid", str(CORPUS))
        codeparrot("train", "--config", "configs/micro.yaml", "--run.dir", str(RUN.parent), *data)


def infilled(order: str) -> str:
    """Return what of HumanEval's single lines is right."""
    found = codeparrot(
        *("eval", "infilling", "--checkpoint", str(RUN), "--kind", "single-line", "--fim_order", order),
        *("--max_new_tokens", str(NEW_TOKENS), "--output", str(FOLDER / "infilling" / order)),
    )
    return f"pass@1 {found['pass@1']:.1%}, exact {found['exact_match']:.1%}, similarity {found['edit_similarity']:.1%}"


def completed(*options: str) -> str:
    return repr(codeparrot("complete", "--checkpoint", str(RUN), *options)["completions"][0])


def main() -> None:
    prepare()
    lines = [json.loads(line) for line in (RUN / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
    solutions = {
        problems: codeparrot("eval", "likelihood", "--checkpoint", str(RUN), "--problems", problems)["solution_bits_per_byte"]
        for problems in ("codeparrot", "humaneval")
    }
    tests = ("--problems", "codeparrot", "--samples", "10", "--k", "1", "10", "--max_new_tokens", "64")
    solved = codeparrot("eval", "humaneval", "--checkpoint", str(RUN), *tests, "--output", str(FOLDER / "own"))
    facts = {
        "bits a byte of the validation set": next(line["bits_per_byte"] for line in reversed(lines) if "bits_per_byte" in line),
        "tokens/s, median of the last quarter": statistics.median(speeds[-len(speeds) // 4 :]),
        **{f"bits a byte of solutions, {problems}": bits for problems, bits in solutions.items()},
        **{f"HumanEval's single lines, {order}": infilled(order) for order in ("prefix", "psm", "spm")},
        "own problems": f"pass@1 {solved['pass@1']:.1%}, pass@10 {solved['pass@10']:.1%}",
        "a function's body": completed("--prompt", PROMPT, "--max_new_tokens", str(NEW_TOKENS)),
        "a method": completed("--prompt", METHOD, "--max_new_tokens", str(NEW_TOKENS), "--stop", "block"),
        "a cursor": completed(
            *("--prompt", BEFORE, "--suffix", BEHIND, "--temperature", "0", "--max_new_tokens", "24", "--stop", "block")
        ),
    }
    report("micro: what the recipe behind the quickstart reaches", [], facts)


if __name__ == "__main__":
    main()

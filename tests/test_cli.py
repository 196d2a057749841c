"""The command line as a user meets it: start-up, help, mistakes, and the commands that the README shows."""

import os
import re
import shlex
import statistics
import subprocess
import sys
import time

import pytest

from codeparrot import cli
from codeparrot.arguments.shorthand import config_named, in_bytes
from codeparrot.errors import CodeparrotError
from tests.launching import ROOT, SCRIPTS
from tests.runs.family import with_parent

PLUGGED_IN = ROOT / "docs" / "extending.md"
"""Its commands exist once its examples are plugged in; its own test runs them."""
DOCUMENTS = [
    ROOT / "README.md",
    *sorted({*(ROOT / "docs").glob("*.md")} - {PLUGGED_IN}),
    *sorted((ROOT / "launch").glob("*.md")),
]
HEAVY = ("torch", "transformers", "datasets", "pyarrow", "matplotlib", "numpy", "huggingface_hub", "tokenizers", "accelerate")


def codeparrot(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / "codeparrot"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def documented_commands() -> list[str]:
    """Every `codeparrot` and `accelerate launch codeparrot/train.py` line in the code blocks of the documents."""
    found: dict[str, None] = {}
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:bash|sh)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = line.split("  #")[0].strip()
                if "codeparrot/train.py" in command:
                    found[f"codeparrot train {command.split('codeparrot/train.py', 1)[1].strip()}"] = None
                elif command.startswith("codeparrot ") or " | codeparrot " in command:
                    found[command[command.index("codeparrot ") :]] = None
    return list(found)


def test_help_starts_at_once_and_imports_nothing_heavy() -> None:
    heavy = (*HEAVY, "jsonargparse")
    code = f"import sys, codeparrot.cli as c; c.main(['--help']); print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.endswith("[]\n")
    for name in cli.COMMANDS:
        assert f"  {name} " in out


def test_help_takes_less_time_than_twenty_bare_interpreters() -> None:
    """A ratio, not a time: importing torch alone would make it a hundred."""

    def seconds(*command: str) -> float:
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - start

    # In turn, so that other load on the machine affects both.
    pairs = [(seconds(sys.executable, "-c", "pass"), seconds(str(SCRIPTS / "codeparrot"), "--help")) for _ in range(9)]
    bare, ours = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert ours < 20 * bare


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_every_command_is_short_and_imports_nothing_heavy(name) -> None:
    code = (
        "import sys, codeparrot.cli as c\n"
        f"try: c.main([*{name.split()!r}, '--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert lines[0].startswith(f"usage: codeparrot {name}")
    assert "" in lines[1:3], "the usage is one line, or two"
    assert lines[lines.index("") + 1][0].isupper(), "what the command does comes next"
    assert max(map(len, lines)) <= 80
    assert re.findall(r"^  (?:-h, )?(--[\w.]+)", done.stdout, re.MULTILINE)


def test_the_help_of_train_starts_with_its_settings_their_units_and_defaults(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    out = capsys.readouterr().out
    assert out.startswith("usage: codeparrot train --config FILE [--section.field VALUE ...]\n\n")
    assert "\nrun:\n" in out[:400]
    options = re.findall(r"^  --(\w+)\.", out, re.MULTILINE)
    assert list(dict.fromkeys(options)) == list(dict.fromkeys(re.findall(r"^(\w+):$", out, re.MULTILINE)))
    assert "  --train.max_steps STEPS\n        Length of the run in optimizer steps. (at least 1; default: 1000)\n" in out
    assert max(map(len, out.splitlines())) <= 100, "long lines are hard to read on a wide terminal"


@pytest.mark.parametrize("name", ["train", "corpus build", "complete", "plot"])
def test_help_of_a_command_is_that_of_its_option_and_names_what_all_commands_have(name, capsys) -> None:
    shown = []
    for words in (["help", *name.split()], [*name.split(), "--help"]):
        with pytest.raises(SystemExit) as ending:
            cli.main(words)
        assert ending.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "\n  --json\n        Print the result as one JSON object.\n  --debug\n" in shown[0]


def test_help_alone_lists_the_commands_and_help_of_a_family_its_own(capsys) -> None:
    assert cli.main(["help"]) == 0
    assert capsys.readouterr().out == cli.usage() + "\n"
    with pytest.raises(SystemExit):
        cli.main(["help", "hub"])
    assert "codeparrot hub push" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("100MB", "100000000"),
        ("1.5GB", "1500000000"),
        ("64KiB", "65536"),
        ("64 kB", "64000"),
        ("2M", "2000000"),
        ("1TiB", "1099511627776"),
        ("512B", "512"),
        ("30000000", "30000000"),
        ("0.2KiB", "205"),
    ],
)
def test_sizes_are_written_as_people_write_them(written, meant) -> None:
    assert in_bytes(["--max_bytes", written, "--x", written]) == ["--max_bytes", meant, "--x", written]
    assert in_bytes([f"--sample-bytes={written}"]) == [f"--sample-bytes={meant}"]
    assert in_bytes(["--filters.max_size", written]) == ["--filters.max_size", meant]


def test_what_is_no_size_is_left_to_the_parser() -> None:
    words = ["--max_bytes", "many", "--max_bytes=10XB", "--name", "10MB", "--max_bytes"]
    assert in_bytes(words) == words


def test_a_recipe_may_come_first_and_one_that_ships_is_known_by_its_name(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = config_named(["nano.yaml", "--optim.lr", "1"])
    assert shipped[0] == "--config" and shipped[1].endswith("configs/nano.yaml") and shipped[2:] == ["--optim.lr", "1"]
    assert config_named(["--config", "nano"]) == shipped[:2]
    assert config_named(["--config=nano.yaml"]) == [f"--config={shipped[1]}"]
    (tmp_path / "nano.yaml").write_text("run: {name: mine}", encoding="utf-8")
    assert config_named(["nano.yaml"]) == ["--config", "nano.yaml"]
    assert config_named(["--help"]) == ["--help"]
    with pytest.raises(CodeparrotError, match=r'there is no file "nanno.yaml"; did you mean "nano.yaml"'):
        config_named(["nanno.yaml"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(CodeparrotError, match=r'"run" is a folder; name the settings in it: run/config.yaml'):
        config_named(["run"])


@pytest.mark.parametrize(("name", "goes_on"), [("corpus build", True), ("plot", False)])
def test_an_interrupted_command_says_whether_it_goes_on(name, goes_on, monkeypatch, capsys) -> None:
    def stops() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("codeparrot.registry.load", lambda target: stops)
    assert cli.main(name.split()) == 130
    said = "; the same command goes on with what is done" if goes_on else ""
    assert capsys.readouterr().err == f"codeparrot: interrupted{said}\n"


@pytest.mark.parametrize(
    ("module", "install"),
    [
        ("torch", "codeparrot"),
        ("rensa", "codeparrot[corpus]"),
        ("detect_secrets.core", "codeparrot[corpus]"),
        ("datatrove", "codeparrot[cluster]"),
        ("ray", "codeparrot[ray]"),
        ("gguf", "codeparrot[gguf]"),
        ("wandb", "codeparrot[wandb]"),
    ],
)
def test_a_library_that_is_missing_is_named_with_the_extra_that_brings_it(module, install, monkeypatch, capsys) -> None:
    def needs_it() -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr("codeparrot.registry.load", lambda target: needs_it)
    monkeypatch.setattr("importlib.metadata.requires", lambda name: declared())
    assert cli.main(["corpus", "build"]) == 1
    library = module.partition(".")[0]
    message = f"codeparrot: error: this needs {library}, which is not installed: pip install {shlex.quote(install)}\n"
    assert capsys.readouterr().err == message


def declared() -> list[str]:
    """What the package requires, as an installed one says it. The one that is installed here may be older."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return project["dependencies"] + [
        f'{each}; extra == "{extra}"' for extra, libraries in extras.items() for each in libraries
    ]


@pytest.mark.parametrize("module", ["codeparrot.corpus.bild", "a_module_of_nobody"])
def test_a_module_that_no_library_brings_is_a_defect(module, monkeypatch) -> None:
    def needs_it() -> None:
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr("codeparrot.registry.load", lambda target: needs_it)
    with pytest.raises(ModuleNotFoundError):
        cli.main(["corpus", "build"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["trian"], 2, 'unknown command "trian"; did you mean "train"?'),
        (["corpus", "bild"], 2, 'did you mean "corpus build"?'),
        (["corpus"], 2, "codeparrot corpus build"),
        (["train"], 1, "stream.train is empty"),
        (["hub", "status", "runs/x"], 2, "unrecognized arguments: runs/x; did you mean --run runs/x?"),
        (["complete", "runs/x"], 2, "unrecognized arguments: runs/x; did you mean --checkpoint runs/x?"),
        (["eval", "humaneval", "runs/x"], 2, "did you mean --checkpoint runs/x?"),
        (["train", "--train.max_steps", "3", "a.yaml"], 2, "did you mean --config a.yaml?"),
        (["plot", "--run", "runs/x"], 2, "RUNS is given without a flag: codeparrot plot runs/x"),
        (["tokenizer", "show", "--text", "x"], 2, "TEXT is given without a flag"),
        (["plot"], 2, "missing RUNS"),
        (["tokenizer", "train", "--corpus", "x"], 2, "output"),
        (["complete", "--checkpoint", "/nowhere", "--prompt", "x"], 1, "/nowhere"),
        (["plot", "/nowhere"], 1, "/nowhere"),
        (["inspect", "--run", "/nowhere", "--step", "1"], 1, "/nowhere"),
        (["corpus", "report", "--corpus", "/nowhere"], 1, "/nowhere"),
        (["corpus", "build", "--source", "/nowhere", "--output", "/tmp/never"], 1, "/nowhere"),
        (["eval", "perplexity", "--checkpoint", "/nowhere", "--data", "x"], 1, "/nowhere"),
        (["eval", "humaneval", "--problems", "humanevil", "--reference"], 1, 'did you mean "humaneval'),
        (["eval", "compare", "/nowhere", "/elsewhere"], 1, "/nowhere"),
    ],
)
def test_mistakes_are_one_line_that_names_the_thing(arguments, status, message) -> None:
    done = codeparrot(*arguments)
    assert done.returncode == status
    assert message in done.stderr and "Traceback" not in done.stderr
    assert arguments == ["corpus"] or len(done.stderr.strip().splitlines()) == 1


def test_debug_shows_the_traceback() -> None:
    assert "Traceback" in codeparrot("train", "--debug").stderr


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{shlex.quote(str(SCRIPTS / 'codeparrot'))} --help | true"
    assert "Traceback" not in subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stderr


BUSY = """
import atexit, threading, torch
from codeparrot import cli
from codeparrot.result import DONE, STOPPED, Result, failed

def command(text: str) -> Result:
    def turn() -> None:
        tensor = torch.zeros(1)
        while True:
            tensor + tensor

    for _ in range(4):
        threading.Thread(target=turn, daemon=True).start()
    atexit.register(print, "the handlers ran")
    statuses = {"done": DONE, "stopped": STOPPED, "wrong": failed("it does not hold")}
    return Result(text, {}, statuses[text])

cli.COMMANDS["busy"] = cli.Command("__main__:command", "")
cli.entry()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["--text", "done"], 0), (["--text", "stopped"], 75), (["--text", "wrong"], 1), ([], 2), (["--help"], 0), (["--text"], 2)],
)
def test_threads_that_are_at_work_do_not_change_how_a_process_of_several_ends(arguments, status) -> None:
    """Like gloo's threads after the last collective: shutting down the interpreter beside them aborts it."""
    environment = {**os.environ, "WORLD_SIZE": "2", "RANK": "0"}
    ended = subprocess.run(
        [sys.executable, "-c", BUSY, "busy", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    if status != 2 and arguments != ["--help"]:
        assert ended.stdout == f"{arguments[1]}\nthe handlers ran\n"


def test_the_documents_show_commands() -> None:
    commands = documented_commands()
    shown = {name for name in cli.COMMANDS if any(command.startswith(f"codeparrot {name}") for command in commands)}
    assert shown == set(cli.COMMANDS)


@pytest.mark.parametrize("command", documented_commands())
def test_the_commands_of_the_documents_are_understood(command, monkeypatch, tmp_path) -> None:
    """Parsed to the end but not run: the commands have tests of their own."""
    monkeypatch.chdir(ROOT)
    if "--from " in command:
        monkeypatch.chdir(with_parent(tmp_path, command))
    cli.prepare(shlex.split(command.split(" | ")[-1].split(" > ")[0])[1:])


def test_modules_beside_train_py_hide_no_other_module() -> None:
    """`accelerate launch codeparrot/train.py` puts codeparrot/ first on sys.path."""
    from importlib.metadata import packages_distributions

    taken = set(sys.stdlib_module_names) | {name for name in packages_distributions() if name != "codeparrot"}
    for path in (ROOT / "codeparrot").iterdir():
        name = path.stem if path.suffix == ".py" else path.name
        if not name.startswith("_"):
            assert name not in taken, f"codeparrot/{path.name} hides the module {name}"

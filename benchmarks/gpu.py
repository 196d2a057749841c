"""`make gpu-trial`: everything that only a GPU can show, on a machine with one or several, in eight minutes.

Each part runs in a process of its own and prints one line of JSON when it ends, so that a trial that is cut short, runs out of
memory or hangs in a part still tells what it found. A table follows at the end.

First what must hold, side by side where there are cores for it:

1. forward: loss and gradients of the training forward pass against the CPU's in fp32; in fp32 and bf16, eager and compiled;
2. waits: no step that is not logged makes the host wait for the device;
3. one process (DDP on several GPUs), FSDP2, ZeRO-2: after SIGTERM and resume, the losses of an undisturbed run;
4. generation: a completion, samples of the project's problems, and their unit tests where bubblewrap is installed.

Then how fast it is, one part at a time and on one GPU, the most telling first:

5. speed: the whole loop of `configs/small.yaml` and `xl.yaml`, eager and compiled, four micro-batches a step;
6. plain: a bare loop of a plain compiled GPT-2 (benchmarks/plain_gpt2.py) of the same size;
7. kernels: what a step's time goes to, and which kernels attention takes.

    python -m benchmarks.gpu [--device cpu] [--tiny] [--minutes 8] [--part NAME ...]
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import ALIKE_WHEN_TINY, GATES, PARTS
from benchmarks.gpu_trial import Trial
from codeparrot.launcher import wait_asleep

LONGEST_SHARE = 0.4
"""Of the trial's time that one part may take, so that one that hangs does not lose the others."""
NEEDED = ("torch", "transformers", "accelerate", "tokenizers", "pyarrow", "jsonargparse", "psutil")
LOG_CHARACTERS = 3000
"""The last that are shown of what a failed part said: nothing of the trial outlives it but what it prints."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand parameters, to try the trial itself")
    parser.add_argument("--minutes", type=float, default=8, help="no part begins or goes on after this long (default: 8)")
    parser.add_argument("--part", nargs="*", choices=list(PARTS), help="only these parts")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    wait_asleep()  # what every command does before torch is loaded
    if arguments.folder:
        print(json.dumps(_run_part(arguments.part[0], Trial(arguments.device, arguments.tiny, arguments.folder))))
        return 0
    if obstacle := _obstacle(arguments.device):
        print(f"gpu-trial: {obstacle}", file=sys.stderr)
        return 2
    # The parts are in sessions of their own: a batch system's signal must end them as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="codeparrot-gpu-") as folder:
        try:
            for line in _trial(arguments, Path(folder)):
                lines.append(line)
        except KeyboardInterrupt:
            print("gpu-trial: interrupted", file=sys.stderr)
            return 130
        finally:
            print("\n" + "\n".join(map(_row, lines)))
    return 1 if any(line["passed"] is False for line in lines) else 0


def _obstacle(device: str) -> str:
    """Say why there can be no trial here, and what to do; nothing if there can be one."""
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        remedy = "name the environment that has what pyproject.toml lists: make gpu-trial VENV=FOLDER"
        return f"{sys.executable} has no {', '.join(lacking)}; {remedy}"
    import torch

    if device == "cpu":
        return ""
    with warnings.catch_warnings(record=True) as said:  # of a driver that is too old
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return ""
    if said:
        why = " ".join(str(said[0].message).split())
    elif torch.version.cuda is None and torch.version.hip is None:
        why = f"torch {torch.__version__} is built without CUDA"
    else:
        why = "look for it with nvidia-smi and in CUDA_VISIBLE_DEVICES"
    return f"torch sees no GPU here ({why}); --device cpu --tiny tries the trial itself"


def _trial(arguments: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """Run the parts; yield and print what each found."""
    from codeparrot.verify.trials import make_data

    whole, began = 60 * arguments.minutes, time.monotonic()
    running: list[subprocess.Popen[str]] = []

    def run(name: str) -> dict[str, Any]:
        start = time.monotonic()
        left = whole - (start - began)
        line: dict[str, Any] = {"part": name, "passed": None}
        if left > 5:
            line |= _in_a_process(name, arguments, folder, min(left, LONGEST_SHARE * whole), running)
        else:
            line["error"] = "not begun: the time was over"
        line["seconds"] = round(time.monotonic() - start, 1)
        print(json.dumps(line), flush=True)
        return line

    found = run("machine")
    yield found
    if found["passed"] is False:
        return
    make_data(folder)
    chosen = arguments.part or [name for name in PARTS if not (arguments.tiny and name in ALIKE_WHEN_TINY)]
    gates = [name for name in chosen if name in GATES]
    with ThreadPoolExecutor(found.get("side_by_side", 1)) as pool:
        try:
            for done in as_completed([pool.submit(run, name) for name in gates]):
                yield done.result()
            pool.shutdown()
            yield from map(run, [name for name in chosen if name not in (*gates, "machine")])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(running):
                _end(process)


def _in_a_process(
    name: str, arguments: Any, folder: Path, seconds: float, running: list["subprocess.Popen[str]"]
) -> dict[str, Any]:
    """Run a part in a process of its own, which is in `running` meanwhile; what it started ends with it."""
    options = ["--device", arguments.device, *(["--tiny"] if arguments.tiny else []), "--folder", str(folder)]
    output = folder / f"{list(PARTS).index(name)}.err"
    command = [sys.executable, "-X", "faulthandler", "-m", "benchmarks.gpu", "--part", name, *options]
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, start_new_session=True)
    running.append(process)
    # That there was no time to measure a speed is no failure.
    passed = False
    try:
        answer, _ = process.communicate(timeout=seconds)
        return json.loads(answer.splitlines()[-1])
    except subprocess.TimeoutExpired:
        error, passed = f"not ended after {seconds:.0f} s", False if name in GATES else None
        process.send_signal(signal.SIGABRT)  # it says where its threads are
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2)
    except (IndexError, ValueError):
        error = f"status {process.returncode}"
    finally:
        _end(process)
        running.remove(process)
    said = output.read_text(errors="replace").strip()
    if error.startswith("status"):
        error += f": {said.splitlines()[-1] if said else 'it said nothing'}"
    stacks = said.rfind("Fatal Python error")
    log = said[-LOG_CHARACTERS:] if stacks < 0 else said[stacks:][:LOG_CHARACTERS]
    return {"passed": passed, "error": error[:500], "log": log}


def _end(process: "subprocess.Popen[str]") -> None:
    """Kill a part and what it has started: torchrun's processes are in sessions of their own."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        own = psutil.Process(process.pid)
        started = own.children(recursive=True)
        for each in [*started, own]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(started, timeout=10)  # the next part needs their memory
    process.wait()


def _run_part(name: str, trial: Trial) -> dict[str, Any]:
    """Return what a part found. Running out of memory is a finding, not a failure."""
    import torch

    try:
        return PARTS[name](trial)
    except torch.OutOfMemoryError as error:
        return {"error": str(error).splitlines()[0][:300]}
    except Exception as error:  # noqa: BLE001 - whatever a part raises is what it found
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__} at {place.filename}:{place.lineno}: {error}"
        return {"passed": False, "error": found[:600], "log": traceback.format_exc()[-LOG_CHARACTERS:]}


def _row(line: dict[str, Any]) -> str:
    mark = {True: "ok", False: "FAIL", None: ""}[line["passed"]]
    names = {"tokens_per_second": "{:,.0f} tokens/s", "mfu": "MFU {:.1%}", "tflops_per_device": "{:.0f} TFLOP/s"}
    names |= {
        "loss_error": "losses equal to {:.1e}",
        "processes": "processes: {}",
        "steps_checked": "{} steps",
        "error": "{}",
        "not_scored": "not scored: {}",
        "not_run": "not run: {}",
        "note": "{}",
    }
    found = [text.format(line[name]) for name, text in names.items() if line.get(name) is not None]
    if line.get("attention"):
        found.append(f"attention by {line['attention'][0][:60]}")
    if line.get("peak_memory_bytes"):
        found.append(f"{line['peak_memory_bytes'] / 1e9:.1f} GB")
    return f"{line['part']:<30} {mark:<5} {line['seconds']:>6.1f} s  {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())

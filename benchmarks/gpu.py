"""`make gpu-trial`: everything that only a GPU can show, on a machine with one, in eight minutes.

Each part runs in a process of its own and prints one line of JSON when it ends, the most telling parts first, so that a trial
that is cut short, runs out of memory or hangs in a part still tells what it found. A table follows at the end.

1. forward: loss and gradients of the training forward against the CPU's in fp32; in bf16 and compiled, within tolerances;
2. waits: no step that is not logged makes the host wait for the device;
3. speed: `configs/small.yaml` and `xl.yaml`, eager and compiled, with several micro-batches, by the whole loop;
4. plain: a bare loop of a plain compiled GPT-2 (benchmarks/plain_gpt2.py) of the same size;
5. kernels: what a step's time goes to, and which kernels attention takes;
6. DDP, FSDP2 and ZeRO-2 with one process each: SIGTERM, resume, the losses of an undisturbed run;
7. generation: a completion, samples of the project's problems, and their unit tests where bubblewrap is installed.

    python -m benchmarks.gpu [--device cpu] [--tiny] [--minutes 8] [--part NAME ...]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts import PARTS, Trial


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="models of a few thousand parameters, to try the trial itself")
    parser.add_argument("--minutes", type=float, default=8, help="no part begins or goes on after this long (default: 8)")
    parser.add_argument("--part", nargs="*", choices=list(PARTS), help="only these parts")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(_run_part(arguments.part[0], Trial(arguments.device, arguments.tiny, arguments.folder))))
        return 0
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu-trial: torch sees no GPU here; --device cpu --tiny tries the trial itself", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="codeparrot-gpu-") as folder:
        lines = list(_trial(arguments, Path(folder)))
    print("\n" + "\n".join(map(_row, lines)))
    return 1 if any(line["passed"] is False for line in lines) else 0


def _trial(arguments: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """Run the parts in order; yield and print what each found."""
    from benchmarks.common import machine
    from codeparrot.verify.trials import make_data

    began = time.monotonic()
    print(json.dumps({"part": "machine", "machine": machine()}), flush=True)
    make_data(folder)
    for name in arguments.part or PARTS:
        left = 60 * arguments.minutes - (time.monotonic() - began)
        line = {"part": name, "passed": None}
        start = time.monotonic()
        line |= _in_a_process(name, arguments, folder, left) if left > 5 else {"error": "not begun: the time was over"}
        line["seconds"] = round(time.monotonic() - start, 1)
        print(json.dumps(line), flush=True)
        yield line


def _in_a_process(name: str, arguments: Any, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a part in a process group of its own, which ends with it."""
    options = ["--device", arguments.device, *(["--tiny"] if arguments.tiny else []), "--folder", str(folder)]
    output = folder / "part.err"
    with output.open("wb") as sink:
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, text=True, start_new_session=True)
        try:
            answer, _ = process.communicate(timeout=seconds)
            return json.loads(answer.splitlines()[-1])
        except subprocess.TimeoutExpired:
            return {"error": f"not ended after {seconds:.0f} s"}
        except (IndexError, ValueError):
            said = output.read_text(errors="replace").strip().splitlines()
            return {"passed": False, "error": f"status {process.returncode}: {said[-1] if said else 'it said nothing'}"[:500]}
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
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
        return {"passed": False, "error": f"{type(error).__name__} at {place.filename}:{place.lineno}: {error}"[:600]}


def _row(line: dict[str, Any]) -> str:
    mark = {True: "ok", False: "FAIL", None: ""}[line["passed"]]
    names = {"tokens_per_second": "{:,.0f} tokens/s", "mfu": "MFU {:.1%}", "tflops_per_device": "{:.0f} TFLOP/s"}
    names |= {
        "loss_error": "losses equal to {:.1e}",
        "steps_checked": "{} steps",
        "error": "{}",
        "not_scored": "not scored: {}",
    }
    found = [text.format(line[name]) for name, text in names.items() if line.get(name) is not None]
    if line.get("peak_memory_bytes"):
        found.append(f"{line['peak_memory_bytes'] / 1e9:.1f} GB")
    return f"{line['part']:<30} {mark:<5} {line['seconds']:>6.1f} s  {', '.join(found)}"


if __name__ == "__main__":
    sys.exit(main())

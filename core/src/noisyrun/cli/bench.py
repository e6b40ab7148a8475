"""``noisyrun bench``: run a suite."""

from __future__ import annotations

import argparse
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from noisyrun.api.errors import UserError
from noisyrun.cli.common import complain, wants_help

if TYPE_CHECKING:
    from noisyrun.bench.plan import Cell, Plan
    from noisyrun.bench.store import Results

USAGE = """\
noisyrun bench SUITE --out DIR [OPTIONS]

Run the suite in a TOML file: every method on all data, with all noise, for all seeds, each in a process of its own.
What has ended is not run again; what was killed goes on where it stood. Several of these on one DIR share the work.

  --out DIR            the results folder: results.csv, and a folder for each cell
  --data DIR           folder of the data sets, for {data} in the suite; NOISYRUN_DATA by default
  --plan               show the plan and what it may cost, and stop
  --no-cost            do not measure what it may cost
  --seeds N, --seeds A,B
                       other seeds than the suite's: 0 to N - 1, or those named
  --only METHOD[/DATA[/NOISE]]
                       only these cells; * and ? match; may be given several times
  --shard I/N          only the I-th of N parts: the same on every machine
  --set KEY=VALUE      a setting of every cell, over those of the suite, such as device=cuda; may be given several times
  --jobs N             cells at once; with GPUs, dealt to them in turn
  --retry-failed       run again what failed, was refused or timed out
  --any-code           take results that other code or versions made, where they are there; the report marks them
  --keep-checkpoints   keep the checkpoint of a cell that has ended
  --tracking none      record nothing; by default MLflow records in DIR/mlflow.db, where it is installed
  --tracking.uri URI, --tracking.experiment NAME
                       another store, another experiment
  --strict             raise on every broken plugin, chosen or not

  noisyrun bench benchmarks/suites/smoke.toml --out results

Exit codes: 0 every cell has its result, 1 some have none, 2 something to mend before any runs, 130 interrupted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"bench: {message}")


def main(words: list[str]) -> int:
    """Run a suite."""
    if wants_help(words):
        print(USAGE)
        return 0
    options = _parser().parse_args(words)
    from noisyrun.bench.plan import accept, expand, select, share
    from noisyrun.bench.store import Results
    from noisyrun.bench.suite import load
    from noisyrun.plugins import Switches, discover

    suite = load(options.suite, options.data)
    if options.seeds:
        suite = suite.model_copy(update={"seeds": options.seeds})
    registry = discover(Switches.of(strict=options.strict))
    complain(registry)
    plan = expand(suite, registry, dict(options.set))
    results = Results(options.out)
    if options.any_code:
        plan = accept(plan, results)
    cells = select(list(plan.cells.values()), options.only)
    if options.shard:
        cells = share(cells, *options.shard)
    if options.plan:
        return _show(results, plan, cells, options)
    results.path.mkdir(parents=True, exist_ok=True)
    results.save_suite(plan.expanded(shlex.join(["noisyrun", "bench", *words])))
    return _run(results, plan, cells, options, words)


def _show(results: Results, plan: Plan, cells: list[Cell], options: argparse.Namespace) -> int:
    from noisyrun.bench.cost import costs
    from noisyrun.bench.progress import Progress
    from noisyrun.bench.work import price

    known = costs(results, plan, None if options.no_cost else price)
    Progress(results, plan, cells, known, options.jobs).show_plan()
    return 0


def _run(results: Results, plan: Plan, cells: list[Cell], options: argparse.Namespace, words: list[str]) -> int:
    from noisyrun.bench.cost import costs
    from noisyrun.bench.progress import Progress
    from noisyrun.bench.track import Tracker
    from noisyrun.bench.work import Options, Stopped, Sweep, price, retry

    if options.retry_failed:
        retry(results, cells)
    known = costs(results, plan, None if options.no_cost else price)
    progress = Progress(results, plan, cells, known, options.jobs)
    progress.show_plan()
    how = Options(jobs=options.jobs, keep=options.keep_checkpoints, gpus=_gpus() if options.jobs > 1 else 0)
    tracker = None
    if options.tracking != "none":
        tracker = Tracker(results, plan, progress.warn, options.tracking_uri, options.tracking_experiment)
        tracker.start()
    try:
        bad = Sweep(results, plan, cells, how, [progress, *([tracker] if tracker else [])]).run()
    except Stopped:
        if tracker is not None:
            tracker.close(wait=False)
        raise KeyboardInterrupt(f"interrupted; go on with: {shlex.join(['noisyrun', 'bench', *words])}") from None
    finally:
        progress.close()
    if tracker is not None:
        tracker.close()
    print(
        f"results in {results.path / 'results.csv'}; a page of them: noisyrun report {shlex.quote(str(results.path))}"
    )
    if bad:
        print(f"{len(bad)} of {len(cells)} cells have no result; run them again with --retry-failed:", file=sys.stderr)
        for cell, result in bad:
            print(f"  {cell}: {result.status}: {result.error}", file=sys.stderr)
    return 1 if bad else 0


def _gpus() -> int:
    """GPUs of this machine, without importing torch here."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="noisyrun bench", add_help=False, allow_abbrev=False)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=_seeds, default=())
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--shard", type=_shard)
    parser.add_argument("--set", action="append", default=[], type=_setting)
    parser.add_argument("--jobs", type=_positive, default=1)
    parser.add_argument("--tracking", choices=("mlflow", "none"), default="mlflow")
    parser.add_argument("--tracking.uri", dest="tracking_uri")
    parser.add_argument("--tracking.experiment", dest="tracking_experiment", default="noisyrun")
    for switch in ("--plan", "--no-cost", "--retry-failed", "--any-code", "--keep-checkpoints", "--strict"):
        parser.add_argument(switch, action="store_true")
    return parser


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"must be a number, or numbers with commas (got {text!r})")
    numbers = tuple(dict.fromkeys(int(part) for part in parts))
    seeds = tuple(range(numbers[0])) if len(parts) == 1 else numbers
    if not seeds:
        raise argparse.ArgumentTypeError("must be at least 1")
    return seeds


def _shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be I/N, as in 1/2 (got {text!r})")
    return int(index) - 1, int(count)


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be KEY=VALUE, as in device=cuda (got {text!r})")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:  # a bare word
        return name, value


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number from 1 (got {text!r})")
    return int(text)

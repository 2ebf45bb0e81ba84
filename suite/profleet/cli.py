"""The ``profleet`` command. Everything heavy is imported by the subcommand that needs it."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from profleet import __version__
from profleet.errors import ProfleetError

RUN_HELP = """\
usage: profleet run [-m] [KEY=VALUE ...] [Hydra options]

Measure a stack named by manifest references, or every stack of a suite.

  profleet run model=squeezenet framework=onnxruntime batch_sizes=[1,2,4,8]
  profleet run -m model=squeezenet,resnet50 framework=onnxruntime,openvino measure=quick
  profleet run suite=quickstart
  profleet run model=squeezenet scenario=server scenario.target_rps=50

  -m, --multirun        one job for every combination of the comma-separated values
  --cfg job             print the configuration instead of executing
  --info searchpath     where configuration comes from
  --config-dir DIR      add a folder with configuration groups of your own
  -sc install=bash      print the shell completion script
  --hydra-help          every Hydra option

Keys: model, framework, hardware, suite, batch_sizes, measure=quick|standard, scenario=sweep|
single_stream|multi_stream|server|offline|find_peak, executor=process|docker, store, resume,
tracking=sqlite|server|none, setup=dry_run|apply|off, allow_unsupported, manifests.
`profleet run --cfg job` shows all.
"""

SIMULATE_HELP = """\
usage: profleet simulate [-m] [KEY=VALUE ...] [Hydra options]

Simulate what a fleet does with a stream of requests.

  profleet simulate workload.rate=2000
  profleet simulate fleet.count=32 workload.load=0.8 router=least_work slo.p99_ms=50
  profleet simulate -m router=random,jsq,power_of_two workload.load=0.5,0.7,0.9
  profleet simulate fleet=theory fleet.servers=16 workload.load=0.8 router=central_queue
  profleet simulate workload=azure_llm_2023_conv workload.load=0.6 trace=true
  profleet simulate -m study=lightspeed

  -m, --multirun        one simulation for every combination of the comma-separated values
  --cfg job             print the configuration instead of executing
  --info searchpath     where configuration comes from
  --config-dir DIR      add a folder with configuration groups of your own
  --hydra-help          every Hydra option

Keys: fleet, workload, router, batching, slo, study, queue, requests, duration_s, warmup,
replications, seed, confidence, per_request, trace, plugins, tracking, store. `profleet simulate
--cfg job` shows them all; the README of suite/profleet/simulate describes them.
"""

PLAN_HELP = """\
usage: profleet plan slo.p99_ms=MS workload.rate=RPS [KEY=VALUE ...] [Hydra options]

Look for the smallest fleet that keeps a promise, for every kind of hardware with a profile.

  profleet plan slo.p99_ms=50 workload.rate=5000
  profleet plan slo.p99_ms=50 workload.rate=5000 hardware=[epyc-2c-1t,epyc-2c-2t] objective=cost
  profleet plan slo.p95_ms=20 slo.p99_ms=50 fleet.model=resnet50 workload=diurnal workload.rate=800

Keys: those of `profleet simulate`, and hardware, objective=count|cost|energy, max_replicas.
"""

PREDICT_HELP = """\
usage: profleet predict [-m] model=REF hardware=REF [KEY=VALUE ...] [Hydra options]

Ask a device model of the catalogue what a model costs, without having the device.

  profleet predict model=resnet50 hardware=nvidia-h100-sxm batch_sizes=[1,8,64]
  profleet predict -m model=resnet50,vgg19 hardware=nvidia-t4,nvidia-l4 dtype=float16
  profleet predict model=resnet50 hardware=nvidia-l4 from=DIR from_hardware=nvidia-t4

Keys: model, hardware, batch_sizes, dtype, from (a profile's or points' folder, measured on another
device), from_hardware, from_model, from_scenario, measured={BATCH: MS}, allow_extrapolation,
layers, store, manifests.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (0 done, 1 something failed, 2 a mistake)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except ProfleetError as error:
        print(f"profleet: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("profleet: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _dispatch(words: list[str]) -> int:
    if words[:1] and words[0] in HYDRA_COMMANDS:
        return _hydra(words[0], words[1:])
    if any(word in {"-sc", "--shell-completion"} for word in words[:1]):
        return _complete(words)
    parsed = _parser().parse_args(words)
    execute = getattr(parsed, "execute", None)
    if execute is None:
        _parser().print_help()
        return 2
    return int(execute(parsed))


def _hydra(command: str, words: list[str]) -> int:
    """Carry out a command that is a Hydra application of its own."""
    if any(word in {"-h", "--help"} for word in words):
        print(HYDRA_COMMANDS[command], end="")
        return 0
    if command == "run":
        from profleet.execute.app import main as application
    elif command == "simulate":
        from profleet.simulate.app import main as application
    elif command == "predict":
        from profleet.hardware.predict_app import main as application
    else:
        from profleet.simulate.plan_app import main as application
    atexit.register(gc.freeze)  # else the collector walks through all of the libraries at exit
    return application(words)


def _complete(words: list[str]) -> int:
    """Answer the shell: subcommands from here, what follows a Hydra command from Hydra."""
    line = os.environ.get("COMP_LINE", "")
    typed = line.split()
    command = typed[1] if len(typed) > 1 and typed[1] in HYDRA_COMMANDS else None
    if any(word.startswith("query") for word in words):
        if command is None:
            if len(typed) < 2 or (len(typed) == 2 and not line.endswith(" ")):
                print(" ".join(name for name in COMMANDS if name.startswith("".join(typed[1:]))))
            return 0
        os.environ["COMP_LINE"] = line.replace(f" {command}", "", 1)
    return _hydra(command or "run", words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="profleet",
        description="Profile an inference stack once, honestly; then ask what a fleet would do.",
        epilog="A mistake in what you asked for exits with 2, a job that failed with 1.",
    )
    parser.add_argument("--version", action="version", version=f"profleet {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND")
    subparsers.add_parser(
        "run", help="measure a stack, a sweep of stacks or a suite", add_help=False
    )
    subparsers.add_parser(
        "simulate", help="simulate what a fleet does with a stream of requests", add_help=False
    )
    subparsers.add_parser(
        "plan", help="look for the smallest fleet that keeps a promise", add_help=False
    )
    subparsers.add_parser(
        "predict", help="ask device models what a model costs on hardware", add_help=False
    )
    from profleet.container import cli as container
    from profleet.hardware import cli as hardware
    from profleet.manifest import cli as manifest
    from profleet.profile import cli as profile
    from profleet.profile.importers import cli as importers
    from profleet.simulate.validation import command as validate
    from profleet.tracking import cli as tracking

    manifest.add_parsers(subparsers)
    profile.add_parsers(subparsers)
    importers.add_parsers(subparsers)
    hardware.add_parsers(subparsers)
    container.add_parsers(subparsers)
    tracking.add_parsers(subparsers)
    validate.add_parsers(subparsers)
    recover = subparsers.add_parser(
        "recover", help="finish a measurement whose result could not be written"
    )
    recover.add_argument("folder", type=Path, help="the folder the failed run named")
    recover.set_defaults(execute=_recover)
    return parser


def _recover(parsed: argparse.Namespace) -> int:
    from profleet.execute.invocation import show
    from profleet.execute.job import recover

    folder, result = recover(parsed.folder)
    show(folder, [(folder, result)])
    print(f"Log it with: profleet log {folder}", file=sys.stderr)
    return 0 if result.status == "finished" else 1


HYDRA_COMMANDS = {
    "run": RUN_HELP, "simulate": SIMULATE_HELP, "plan": PLAN_HELP, "predict": PREDICT_HELP,
}  # fmt: skip
COMMANDS = (
    *HYDRA_COMMANDS,
    "manifest",
    "profile",
    "import",
    "hardware",
    "image",
    "validate",
    "log",
    "ui",
    "recover",
)

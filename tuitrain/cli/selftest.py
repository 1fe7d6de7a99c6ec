"""Check that a device does what tuitrain promises. Prints a block for a report; exits with 1 if a check fails.

example: tuitrain selftest --device cuda
"""

import argparse
import platform

from tuitrain.errors import ERROR, FINISHED, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the device and the number of steps."""
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, or cuda:1 (the second GPU)")
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="steps of each comparison (default 20)")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks and print each result as it is known; returns the exit code."""
    from tuitrain.charlstm import runtime

    if arguments.steps < 1:
        raise UsageError(f"--steps {arguments.steps}: give 1 or more")
    runtime.before_torch()
    return runtime.aside(lambda: _report(arguments.device, arguments.steps))


def _report(asked: str, steps: int) -> int:
    from tuitrain.charlstm import repeats
    from tuitrain.charlstm.config import Config
    from tuitrain.engine import devices, environment
    from tuitrain.experiments import selftest

    Config.of({"device": asked})  # raises if this is not the name of a device
    remarks: list[str] = []
    device = devices.pick(asked, remarks.append)
    versions = environment.versions(device)
    print(f"tuitrain selftest --device {device} --steps {steps}")
    for line in (*remarks, f"{platform.platform()}", ", ".join(f"{name} {value}" for name, value in versions.items())):
        print(f"  {line}")
    checks = []
    for check in selftest.run(device, steps):
        checks.append(check)
        print(f"{check.name:<32}{check.state:<16}{check.detail}", flush=True)
    if devices.kind(device) == "cuda":
        repeats.remember(device, selftest.repeated(checks))
    states = [check.state for check in checks]
    counts = ", ".join(f"{states.count(state)} {state}"
                       for state in (selftest.OK, selftest.FAILED, selftest.NOT_APPLICABLE))
    print(counts)
    return ERROR if selftest.FAILED in states else FINISHED

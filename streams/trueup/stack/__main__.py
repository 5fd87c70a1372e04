"""`python -m trueup.stack up|down|status|logs`: steers a stack where the `trueup` command is not at hand."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from trueup.model.errors import TrueUpError
from trueup.stack.local_stack import LocalStack
from trueup.stack.progress import StackProgress
from trueup.stack.settings import StackSettings


def main() -> int:
    """Run one command. Return its exit code."""
    defaults = StackSettings()
    parser = argparse.ArgumentParser(prog="python -m trueup.stack", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "logs", "start", "stop", "kill"])
    parser.add_argument("part", nargs="?", help="for logs, start, stop and kill")
    parser.add_argument("--state-dir", type=Path, default=defaults.state_dir)
    parser.add_argument("--port-base", type=int, default=defaults.port_base)
    parser.add_argument("--brokers", type=int, default=defaults.brokers)
    parser.add_argument("--purge", action="store_true", help="down: remove all state too")
    arguments = parser.parse_args()
    try:
        return _run(arguments)
    except TrueUpError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _run(arguments: argparse.Namespace) -> int:
    """Do what the command says."""
    if arguments.command == "up":
        settings = StackSettings(
            state_dir=arguments.state_dir, port_base=arguments.port_base, brokers=arguments.brokers
        )
        with StackProgress(Console(stderr=True)) as progress:
            addresses = LocalStack(settings).up(progress)
        sys.stdout.write(
            f"bootstrap servers  {addresses.bootstrap_servers}\nConnect            {addresses.connect_url}\n"
        )
        sys.stdout.write(f"registry           {addresses.registry_url}\n")
        sys.stdout.write(f"databases          {settings.state_dir / 'stack.env'}\n")
        return 0
    stack = LocalStack.at(arguments.state_dir)
    match arguments.command:
        case "down":
            with StackProgress(Console(stderr=True)) as progress:
                stack.down(progress, purge=arguments.purge)
        case "status":
            for status in stack.status():
                sys.stdout.write(f"{status}\n")
        case "logs":
            sys.stdout.write(f"{stack.logs(arguments.part)}\n")
        case "start":
            stack.start_part(arguments.part)
        case "stop":
            stack.stop_part(arguments.part)
        case "kill":
            stack.kill_part(arguments.part)
    return 0


if __name__ == "__main__":
    sys.exit(main())

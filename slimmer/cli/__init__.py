"""The command line: results on stdout, progress and errors on stderr."""

import click

from slimmer.cli.adopt import adopt
from slimmer.cli.exit import Commands
from slimmer.cli.export_profile import export, profile
from slimmer.cli.latency import latency
from slimmer.cli.prune_inspect import inspect, prune
from slimmer.cli.report import report
from slimmer.cli.sweep_compare import compare, sweep


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="slimmer", message="%(prog)s %(version)s")
def main() -> None:
    """Prune a pretrained PyTorch convnet to a budget of FLOPs, parameters or latency."""


commands = inspect, prune, adopt, export, profile, report, sweep, compare, latency
for command in commands:  # the order of use
    main.add_command(command)

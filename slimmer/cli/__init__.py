"""The commands: options into a call, the result to stdout, talk and errors to stderr."""

import click

from slimmer.cli.exit import Commands
from slimmer.cli.export_profile import export, profile
from slimmer.cli.prune_inspect import inspect, prune
from slimmer.cli.sweep_compare import compare, sweep


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="slimmer", message="%(prog)s %(version)s")
def main() -> None:
    """Make a pretrained convnet smaller and faster: prune, export, profile."""


for command in (prune, export, profile, inspect, sweep, compare):
    main.add_command(command)

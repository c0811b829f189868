"""MkDocs hook: the page of the command line, from what the command says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
import typer
from microipa.cli.main import app
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

INTRODUCTION = "# Command line\n\nThis page is made from the help of the commands.\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/cli.md."""
    command = typer.main.get_command(app)
    text = "\n".join([INTRODUCTION, *_described(command, click.Context(command, info_name="microipa"))])
    files.append(File.generated(config, "reference/cli.md", content=text))
    return files


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    """A heading, the help and the options of a command, and the same of all below it."""
    yield f"{'##' if context.parent and isinstance(command, click.Group) else '###'} {context.command_path}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if not isinstance(command, click.Group):
        yield "```text\n" + " ".join([context.command_path, *command.collect_usage_pieces(context)]) + "\n```\n"
    rows = [row for parameter in command.get_params(context) if (row := _row(parameter, context))]
    if rows and not isinstance(command, click.Group):
        yield "| | |\n|---|---|\n" + "\n".join(rows) + "\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below and not below.hidden:
                yield from _described(below, click.Context(below, parent=context, info_name=name))


def _row(parameter: click.Parameter, context: click.Context) -> str:
    if parameter.name == "help":
        return ""
    if isinstance(parameter, click.Option):
        record = parameter.get_help_record(context)
        name, text = record or (parameter.opts[0], "")
    else:
        name, text = parameter.make_metavar(context), getattr(parameter, "help", "") or ""
    return "| `{}` | {} |".format(name.replace("|", "\\|"), " ".join(text.split()).replace("|", "\\|"))

"""MkDocs hook: the page of the command line, from what the command says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from microipa.cli.main import app
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

INTRODUCTION = "# Command line\n\nThis page is made from the help of the commands.\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add reference/cli.md."""
    command: Any = typer.main.get_command(app)  # of a click that typer has for itself
    text = "\n".join([INTRODUCTION, *_described(command, command.context_class(command, info_name="microipa"))])
    files.append(File.generated(config, "reference/cli.md", content=text))
    return files


def _described(command: Any, context: Any) -> Iterator[str]:
    """A heading, the help and the options of a command, and the same of all below it."""
    is_group = hasattr(command, "list_commands")
    yield f"{'##' if is_group else '###'} {context.command_path}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    if not is_group:
        yield "```text\n" + " ".join([context.command_path, *command.collect_usage_pieces(context)]) + "\n```\n"
        if rows := [row for parameter in command.get_params(context) if (row := _row(parameter, context))]:
            yield "| argument | meaning |\n|---|---|\n" + "\n".join(rows) + "\n"
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        if below and not below.hidden:
            yield from _described(below, below.context_class(below, parent=context, info_name=name))


def _row(parameter: Any, context: Any) -> str:
    if parameter.name == "help":
        return ""
    record = parameter.get_help_record(context)
    name, text = record or (parameter.human_readable_name, getattr(parameter, "help", "") or "")
    return "| `{}` | {} |".format(name.replace("|", "\\|"), " ".join(text.split()).replace("|", "\\|"))

"""docs/index.md leads to every page, and each of its commands is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from segcast.cli import cli

DOCS = Path(__file__).parents[2] / "docs"
INDEX = (DOCS / "index.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (segcast .*)$", INDEX, re.MULTILINE)


def test_every_page_is_in_the_index() -> None:
    linked = set(re.findall(r"\]\((\w[\w-]*\.md)\)", INDEX))
    assert linked == {page.name for page in DOCS.glob("*.md")} - {"index.md"}


@pytest.mark.parametrize("line", COMMANDS)
def test_its_commands_are_taken(line: str) -> None:
    name, *words = shlex.split(line)[1:]
    with cli.commands[name].make_context(name, words):
        pass


def test_the_first_commands_have_what_they_need() -> None:
    assert len(COMMANDS) >= 10
    for line in COMMANDS:
        command = cli.commands[shlex.split(line)[1]]
        required = {option.opts[0] for option in command.params if isinstance(option, click.Option) and option.required}
        assert all(option in line for option in required), line

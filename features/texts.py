"""What a text encoder reads of an item: a template such as `{title} ({genres}). {plot}`.

Fields that are empty drop out with what belonged to them only:

* A pair of brackets or double quotes goes with its words when it holds fields and all are empty.
* Outside of brackets, `. ! ? ; , : | / -`, dashes and line breaks, where a space or a field is next
  to them, divide the template into clauses. A clause that holds fields goes when all are empty,
  its words and its label (`Genres: {genres}`) with it.
* Of the two marks around a clause that went, one stays: the first that ends a sentence, else the
  first. At the beginning none stays; at the end, none that joins.
* Space is single, and no full stop follows a sentence that ends already.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from features.clauses import CLOSING, Field, Group, Node, Passage, has_fields, parse_passage
from fedrec.errors import ConfigError

_TOKENS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|.", re.DOTALL)
_ENDS = frozenset(".!?…")


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. text: as it was given. columns: the columns it reads, in order."""

    text: str
    columns: tuple[str, ...]
    passage: Passage

    def render(self, values: Mapping[str, str]) -> str:
        """The text of an item from its values by column; "" where all of them are empty."""
        clean = {column: _single_spaced(values[column]) for column in self.columns}
        return _single_spaced(_render_passage(self.passage, clean))


def parse_template(text: str, columns: Collection[str]) -> Template:
    """`{column}` stands for a value, `{{` and `}}` for braces; nothing else is interpreted.

    Raises ConfigError for a column that is none of `columns`, for a brace on its own, and for a
    template without a column.
    """
    atoms: list[str | Field] = []
    for match in _TOKENS.finditer(text):
        token = match.group()
        if token in ("{", "}"):
            raise ConfigError(
                f"--text {text!r}: {token} on its own at character {match.start() + 1}; expected "
                "{column}, or {{ and }} for braces"
            )
        atoms.append(token[0] if match.group(1) is None else _field(text, match.group(1), columns))
    named = tuple(dict.fromkeys(atom.column for atom in atoms if isinstance(atom, Field)))
    if not named:
        raise ConfigError(f"--text {text!r}: names no column, {_there_are(columns)}")
    return Template(text, named, parse_passage(atoms))


def _field(text: str, name: str, columns: Collection[str]) -> Field:
    if name.strip() not in columns:
        raise ConfigError(f"--text {text!r}: there is no column {name!r}, {_there_are(columns)}")
    return Field(name.strip())


def _there_are(columns: Collection[str]) -> str:
    return f"expected one of {', '.join('{' + column + '}' for column in columns)}"


def _render_passage(passage: Passage, values: Mapping[str, str]) -> str:
    """The clauses that stay; "" where every field is empty."""
    if not any(_has_value(clause, values) for clause in passage.clauses):
        return ""
    written, pending, begun = "", passage.separators[0], False
    last = len(passage.clauses) - 1
    for position, clause in enumerate(passage.clauses):
        after = passage.separators[position + 1]
        if has_fields(clause) and not _has_value(clause, values):
            if begun:
                pending = _merge(pending, after, at_end=position == last)
            continue
        written = _append(written, pending) + _render_clause(clause, values)
        pending, begun = after, True
    return _append(written, pending)


def _has_value(nodes: Sequence[Node], values: Mapping[str, str]) -> bool:
    return any(
        (isinstance(node, Field) and bool(values[node.column]))
        or (
            isinstance(node, Group)
            and any(_has_value(clause, values) for clause in node.inner.clauses)
        )
        for node in nodes
    )


def _render_clause(nodes: Sequence[Node], values: Mapping[str, str]) -> str:
    parts = []
    for node in nodes:
        if isinstance(node, Field):
            parts.append(values[node.column])
        elif isinstance(node, Group):
            parts.append(_render_group(node, values))
        else:
            parts.append(node)
    return _single_spaced("".join(parts))


def _render_group(group: Group, values: Mapping[str, str]) -> str:
    clauses, separators = group.inner.clauses, group.inner.separators
    if any(map(has_fields, clauses)):
        inner = _render_passage(group.inner, values).strip()
        return f"{group.opening}{inner}{CLOSING[group.opening]}" if inner else ""
    words = [_render_clause(clause, values) for clause in clauses]
    inner = separators[0] + "".join(map("".join, zip(words, separators[1:], strict=True)))
    return f"{group.opening}{inner}{CLOSING[group.opening]}"


def _merge(before: str, after: str, *, at_end: bool) -> str:
    """What stays of the separators around a clause that went."""
    for separator in (before, after):
        if _ENDS & set(separator):
            return separator
    return after if at_end else before


def _append(text: str, separator: str) -> str:
    """`text` and a separator, without a full stop behind a sentence that ends already."""
    ended = text.rstrip()[-1:] in _ENDS
    return text + (separator.replace(".", "") if ended and separator.strip() == "." else separator)


def _single_spaced(text: str) -> str:
    return " ".join(text.split())

"""Where a template for texts may be taken apart: its clauses, its brackets, and what is between."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_MARKS = r"[.!?…;,:|/·•–—-]+"  # noqa: RUF001
_SEPARATORS = re.compile(rf"\A\s*{_MARKS}\s*|\s*{_MARKS}(?=\s|\Z)\s*|\s*\n\s*")
CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">", "“": "”", "«": "»", '"': '"'}


@dataclass(frozen=True, slots=True)
class Field:
    """Stands for the value of a column."""

    column: str


@dataclass(frozen=True, slots=True)
class Group:
    """A passage in brackets or double quotes."""

    opening: str
    inner: Passage


Node = str | Field | Group


@dataclass(frozen=True, slots=True)
class Passage:
    """Clauses and what stands between them: one separator more than clauses."""

    clauses: tuple[tuple[Node, ...], ...]
    separators: tuple[str, ...]


def parse_passage(atoms: Sequence[str | Field]) -> Passage:
    """The clauses of a template, given as its single characters and its fields."""
    return _parse(atoms, _partners(atoms), 0, len(atoms))


def _partners(atoms: Sequence[str | Field]) -> dict[int, int]:
    """Where the bracket that opens at a position closes; brackets on their own are left out."""
    partners: dict[int, int] = {}
    opened: list[int] = []
    for position, atom in enumerate(atoms):
        matching = [at for at in opened if CLOSING[str(atoms[at])] == atom]
        if matching:
            partners[matching[-1]] = position
            del opened[opened.index(matching[-1]) :]
        elif isinstance(atom, str) and atom in CLOSING:
            opened.append(position)
    return partners


def _parse(
    atoms: Sequence[str | Field], partners: Mapping[int, int], start: int, end: int
) -> Passage:
    """The clauses of atoms[start:end]."""
    clauses: list[list[Node]] = [[]]
    separators = [""]
    while start < end:
        atom = atoms[start]
        if start in partners:
            inner = _parse(atoms, partners, start + 1, partners[start])
            clauses[-1].append(Group(str(atom), inner))
            start = partners[start]
        elif isinstance(atom, Field):
            clauses[-1].append(atom)
        else:
            literal = _literal(atoms, partners, start, end)
            _divide(literal, clauses, separators)
            start += len(literal) - 1
        start += 1
    if any(map(_is_content, clauses[-1])):
        separators.append("")
    else:
        clauses.pop()
    return Passage(tuple(map(tuple, clauses)), tuple(separators))


def _literal(
    atoms: Sequence[str | Field], partners: Mapping[int, int], start: int, end: int
) -> str:
    """The characters from `start` to the next field or bracket."""
    letters: list[str] = []
    for position in range(start, end):
        atom = atoms[position]
        if isinstance(atom, Field) or position in partners:
            break
        letters.append(atom)
    return "".join(letters)


def _divide(literal: str, clauses: list[list[Node]], separators: list[str]) -> None:
    """Add a literal to the last clause, beginning a new one behind each separator."""
    done = 0
    for match in _SEPARATORS.finditer(literal):
        if match.group().strip() == ":" and not has_fields(clauses[-1]):
            continue  # the colon of a label, which belongs to what follows
        clauses[-1].append(literal[done : match.start()])
        done = match.end()
        if any(map(_is_content, clauses[-1])):
            separators.append(match.group())
            clauses.append([])
        else:
            separators[-1] += match.group()
            clauses[-1].clear()
    clauses[-1].append(literal[done:])


def _is_content(node: Node) -> bool:
    return not isinstance(node, str) or bool(node.strip())


def has_fields(nodes: Sequence[Node]) -> bool:
    """Whether a field is among them, or within the brackets among them."""
    return any(
        isinstance(node, Field)
        or (isinstance(node, Group) and any(map(has_fields, node.inner.clauses)))
        for node in nodes
    )

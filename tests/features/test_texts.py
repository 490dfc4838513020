from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.texts import parse_template
from fedrec.errors import ConfigError

COLUMNS = ["title", "genres", "plot", "year"]
FILM = {"title": "Heat", "genres": "Crime, Drama", "plot": "Two men meet.", "year": "1995"}


def render(template: str, *missing: str, **changed: str) -> str:
    values = FILM | dict.fromkeys(missing, "") | changed
    return parse_template(template, COLUMNS).render(values)


@pytest.mark.parametrize(
    ("template", "missing", "text"),
    [
        ("{title} ({genres}). {plot}", "", "Heat (Crime, Drama). Two men meet."),
        ("{title} ({genres}). {plot}", "genres", "Heat. Two men meet."),
        ("{title} ({genres}). {plot}", "plot", "Heat (Crime, Drama)."),
        ("{title} ({genres}). {plot}", "title", "(Crime, Drama). Two men meet."),
        ("{title} ({genres}). {plot}", "title genres", "Two men meet."),
        ("{title} ({genres}). {plot}", "title genres plot", ""),
        # a pair of brackets keeps its words as long as one of its fields has a value
        ("{title} (of {year}, {genres})", "genres", "Heat (of 1995)"),
        ("{title} (of {year}, {genres})", "year genres", "Heat"),
        ("{title} (film)", "genres", "Heat (film)"),
        ('"{title}" [{year}] <{genres}>', "title genres", "[1995]"),
        # a clause goes with its words and its label
        (
            "Film: {title}. Genres: {genres}. Plot: {plot}",
            "genres",
            "Film: Heat. Plot: Two men meet.",
        ),
        ("Film: {title}. Genres: {genres}.", "title", "Genres: Crime, Drama."),
        ("Film. {title}", "title", ""),
        ("A film. {title}, {year}", "year", "A film. Heat"),
        # of the marks around it, one that ends a sentence stays, else the first
        ("{title}, {genres}. {plot}", "genres", "Heat. Two men meet."),
        ("{title}. {genres}, {plot}", "genres", "Heat. Two men meet."),
        ("{title} - {genres}; {year}", "genres", "Heat - 1995"),
        ("{title}: {plot}", "plot", "Heat"),
        ("{title}: {plot}", "title", "Two men meet."),
        ("{title} | {genres} | {year}!", "genres year", "Heat!"),
        ("{title}/{year}", "year", "Heat"),
        ("{title}\n{plot}\n{year}", "plot", "Heat 1995"),
        ("{title} {year}. {genres}", "year", "Heat. Crime, Drama"),
        # hyphens and points within words divide nothing
        ("Sci-fi v1.0 {year} {title}", "year", "Sci-fi v1.0 Heat"),
        # no full stop behind a sentence that ends already
        ("{plot}. {title}.", "", "Two men meet. Heat."),
    ],
)
def test_what_is_missing_goes_with_what_belonged_to_it_only(template, missing, text) -> None:
    assert render(template, *missing.split()) == text


def test_values_are_single_spaced_and_blank_ones_are_missing() -> None:
    assert render("{title} ({year}).", title="  The\n  Heat ", year=" \t") == "The Heat."


def test_doubled_braces_are_braces_and_nothing_is_interpreted() -> None:
    assert render("{{{title}}} {{plot}}") == "{Heat} {plot}"
    assert render("{{{title}}} {year}", "title") == "1995"
    assert render("{title}", title="{plot} {0.__class__}") == "{plot} {0.__class__}"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{titel}", r"no column 'titel', expected one of \{title\}, \{genres\}"),
        ("{title.upper}", "no column 'title.upper'"),
        ("{title!r}", "no column 'title!r'"),
        ("{title:>9}", "no column 'title:>9'"),
        ("{}", "no column ''"),
        ("{title", r"\{ on its own at character 1"),
        ("a } b {title}", r"\} on its own at character 3"),
        ("{title}}}}", r"\} on its own at character 10"),
        ("no fields", "names no column"),
        ("", "names no column"),
    ],
)
def test_a_wrong_template_is_explained(template, words) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_template(template, COLUMNS)


WORDS = st.text("abcXYZ019", min_size=1, max_size=6)
PIECES = st.sampled_from(
    [
        ". ",
        ", ",
        "; ",
        ": ",
        " - ",
        " / ",
        "! ",
        "\n",
        " ",
        " and ",
        ". Label: ",
        " (of ",
        ") ",
        ".",
    ]
)
TEMPLATES = st.lists(st.tuples(PIECES, st.sampled_from(COLUMNS)), min_size=1, max_size=6).map(
    lambda parts: "{title}" + "".join(f"{piece}{{{column}}}" for piece, column in parts)
)
VALUES = st.fixed_dictionaries({column: WORDS for column in COLUMNS})


@given(TEMPLATES, VALUES)
def test_with_all_values_a_template_is_filled_in_as_it_stands(template, values) -> None:
    plain = template
    for column, value in values.items():
        plain = plain.replace(f"{{{column}}}", value)
    text = parse_template(template, COLUMNS).render(values)
    assert text.split() == text.split(" ") and "".join(text.split()) == "".join(plain.split())


@given(TEMPLATES, VALUES, st.sets(st.sampled_from(COLUMNS)))
def test_whatever_is_missing_the_rest_is_there_and_clean(template, values, missing) -> None:
    kept = values | dict.fromkeys(missing, "")
    text = parse_template(template, COLUMNS).render(kept)
    named = re.findall(r"\{(\w+)\}", template)
    position = 0
    for column in named:  # every value that is there, in order
        position = text.index(kept[column], position) + len(kept[column])
    assert text.split() == ([] if not text else text.split(" "))
    assert not re.search(r"\(\s*\)|[.,;:!/-]\s*[.,;:!/-]|^[.,;:!/-]|[,;:/-]$", text)
    if not any(kept[column] for column in named):
        assert text == ""


@given(st.text(max_size=30), st.text(max_size=30), st.booleans())
def test_no_template_and_no_value_breaks_it(template, value, there) -> None:
    escaped = template.replace("{", "{{").replace("}", "}}")
    parsed = parse_template(escaped + "{title}" + escaped, COLUMNS)
    text = parsed.render({"title": value if there else ""})
    assert bool(text) == bool(there and value.strip())

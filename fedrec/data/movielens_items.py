"""The films of MovieLens, from any of the files that describe them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fedrec.data.archive import Source
from fedrec.data.catalogue import Catalogue, Item, catalogue_of, compose_text
from fedrec.data.json_files import parse_json
from fedrec.data.rows import COMMA, Dialect, read_records
from fedrec.errors import DataError

NUM_TAGS = 10
NO_GENRES = "(no genres listed)"
GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
U_ITEM = Dialect(
    delimiter="|",
    quoted=False,
    encoding="latin-1",
    header=(
        "movie id",
        "movie title",
        "release date",
        "video release date",
        "IMDb URL",
        *GENRES_100K,
    ),
)
MOVIES_DAT = Dialect(
    delimiter="::", quoted=False, encoding="latin-1", header=("MovieID", "Title", "Genres")
)


def from_movies_csv(source: Source, name: str) -> Catalogue:
    """movies.csv of ml-latest-small and ml-20m to 32m, with tags.csv and links.csv beside it."""
    tags = _top_tags(source)
    links = _links(source)

    def items() -> Iterator[Item]:
        for row in read_records(source, name, COMMA, ("movieId", "title", "genres")):
            key = row["movieId"]
            genres = _genres(row["genres"])
            yield Item(
                key=key,
                title=row["title"],
                genres=genres,
                text=compose_text(row["title"], genres, tags=tags.get(key, ())),
                feature_key=key,
                further=links.get(key, {}),
            )

    return catalogue_of(items(), source.label(name))


def from_movies_dat(source: Source, name: str) -> Catalogue:
    """movies.dat of ml-1m."""

    def items() -> Iterator[Item]:
        for row in read_records(source, name, MOVIES_DAT, ()):
            title, genres = row["Title"], _genres(row["Genres"].rstrip("\r\n"))
            text = compose_text(title, genres)
            key = row["MovieID"]
            yield Item(key=key, title=title, genres=genres, text=text, feature_key=key)

    return catalogue_of(items(), source.label(name))


def from_u_item(source: Source, name: str) -> Catalogue:
    """u.item of ml-100k. Its ids are its own, so feature files do not know them."""

    def items() -> Iterator[Item]:
        for row in read_records(source, name, U_ITEM, ()):
            title = row["movie title"]
            genres = tuple(genre for genre in GENRES_100K[1:] if row[genre].strip() == "1")
            text = compose_text(title, genres)
            yield Item(key=row["movie id"], title=title, genres=genres, text=text)

    return catalogue_of(items(), source.label(name))


def from_items_jsonl(source: Source, name: str, key: str) -> Catalogue:
    """One JSON object a line: `key`, title, genres, and where known plot, tags, poster, movieId.

    Raises DataError with the line for what is not such an object.
    """

    def items() -> Iterator[Item]:
        with source.open(name) as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    yield _item_of_json(parse_json(line), key)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    reason = f"{type(error).__name__}: {error}"
                    raise DataError(
                        f"{source.label(name)}:{number}: not an item object ({reason})"
                    ) from error

    return catalogue_of(items(), source.label(name))


def movie_ids(source: Source, name: str) -> dict[str, str | None]:
    """item_to_movielens.csv: ml-100k's ids to the ids of every other MovieLens set, None: unknown.

    Raises DataError for a malformed file.
    """
    rows = read_records(source, name, COMMA, ("item_id_100k", "movieId"))
    return {row["item_id_100k"]: row["movieId"] or None for row in rows}


def _item_of_json(record: Mapping[str, Any], key: str) -> Item:
    title, plot = str(record["title"]), record.get("plot") or ""
    genres = tuple(map(str, record.get("genres") or ()))
    tags = _distinct_lower(record.get("tags") or ())
    movie_id = record.get("movieId")
    further = {name: record.get(name) for name in ("imdbId", "tmdbId") if name in record}
    return Item(
        key=str(record[key]),
        title=title,
        genres=genres,
        text=compose_text(title, genres, plot, tags[:NUM_TAGS]),
        image=_text_or_none(record.get("poster")),
        feature_key=None if movie_id is None else str(movie_id),
        further={name: None if value is None else str(value) for name, value in further.items()},
    )


def _text_or_none(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"poster is {value!r:.60}, expected a path")
    return value


def _distinct_lower(tags: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(tag.strip().lower() for tag in tags))


def _genres(field: str) -> tuple[str, ...]:
    return () if field in ("", NO_GENRES) else tuple(field.split("|"))


def _top_tags(source: Source) -> dict[str, list[str]]:
    """The tags that most people gave to a film; equally common ones in the order of the file."""
    name = source.find("tags.csv")
    if name is None:
        return {}
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in read_records(source, name, COMMA, ("movieId", "tag")):
        counts[row["movieId"]][row["tag"].strip().lower()] += 1
    return {key: [tag for tag, _ in c.most_common(NUM_TAGS)] for key, c in counts.items()}


def _links(source: Source) -> dict[str, dict[str, str | None]]:
    name = source.find("links.csv")
    if name is None:
        return {}
    rows = read_records(source, name, COMMA, ("movieId", "imdbId", "tmdbId"))
    return {r["movieId"]: {"imdbId": r["imdbId"], "tmdbId": r["tmdbId"] or None} for r in rows}

"""Readers of MovieLens: the publisher's files, RecBole's form of them, and item sequences."""

from __future__ import annotations

from dataclasses import replace

from fedrec.data.archive import Source
from fedrec.data.catalogue import Catalogue
from fedrec.data.delimited import Layout, read_delimited
from fedrec.data.interactions import Interactions
from fedrec.data.movielens_items import (
    from_items_jsonl,
    from_movies_csv,
    from_movies_dat,
    from_u_item,
    movie_ids,
)
from fedrec.data.raw import Columns, RawData
from fedrec.data.recbole import read_inter, read_item_file
from fedrec.data.rows import Dialect

RATINGS_CSV = Layout(user="userId", item="movieId", time="timestamp", whole_ids=True)
SEQUENCES = Layout(user="userId", item="movieId", time="position", whole_ids=True, positional=True)
U_DATA = Layout(
    user="user id",
    item="item id",
    time="timestamp",
    whole_ids=True,
    dialect=Dialect(
        delimiter="\t", quoted=False, header=("user id", "item id", "rating", "timestamp")
    ),
)
RATINGS_DAT = Layout(
    user="UserID",
    item="MovieID",
    time="Timestamp",
    whole_ids=True,
    dialect=Dialect(
        delimiter="::", quoted=False, header=("UserID", "MovieID", "Rating", "Timestamp")
    ),
)


def read_ml_csv(source: Source, columns: Columns) -> RawData:
    """ml-latest-small, ml-20m, ml-25m, ml-32m: ratings.csv, movies.csv, tags.csv, links.csv."""
    del columns  # MovieLens fixes its own
    interactions = read_delimited(source, source.require("ratings.csv"), RATINGS_CSV)
    return RawData(interactions=interactions, catalogue=_films_by_movie_id(source))


def read_ml_1m(source: Source, columns: Columns) -> RawData:
    """ml-1m: ratings.dat and movies.dat, or sequences.csv with positions for times."""
    del columns
    name = source.require("ratings.dat", "sequences.csv")
    layout = RATINGS_DAT if name.startswith("ratings.dat") else SEQUENCES
    interactions = read_delimited(source, name, layout)
    return RawData(interactions=interactions, catalogue=_films_by_movie_id(source))


def read_ml_100k(source: Source, columns: Columns) -> RawData:
    """ml-100k: u.data and u.item, or ml-100k.inter and ml-100k.item."""
    del columns
    name = source.require("u.data", "ml-100k.inter")
    return RawData(
        interactions=_interactions_100k(source, name),
        catalogue=_films_of_100k(source),
        own_feature_keys=False,
    )


def _interactions_100k(source: Source, name: str) -> Interactions:
    if name.startswith("u.data"):
        return read_delimited(source, name, U_DATA)
    return read_inter(source, name, Columns())


def _films_by_movie_id(source: Source) -> Catalogue:
    if name := source.find("items.jsonl"):
        return from_items_jsonl(source, name, "movieId")
    if name := source.find("movies.csv"):
        return from_movies_csv(source, name)
    if name := source.find("movies.dat"):
        return from_movies_dat(source, name)
    return {}


def _films_of_100k(source: Source) -> Catalogue:
    """ml-100k numbers its films itself: only a mapping tells what feature files call them."""
    films = _own_films_of_100k(source)
    name = source.find("item_to_movielens.csv")
    if name is None:
        return films
    known = movie_ids(source, name)
    return {
        key: replace(film, feature_key=known.get(key), further={"movieId": known.get(key)})
        for key, film in films.items()
    }


def _own_films_of_100k(source: Source) -> Catalogue:
    if name := source.find("items.jsonl"):
        return from_items_jsonl(source, name, "item_id")
    if name := source.find("u.item"):
        return from_u_item(source, name)
    if name := source.find("ml-100k.item"):
        films = read_item_file(source, name, Columns())
        return {key: replace(film, feature_key=None) for key, film in films.items()}
    return {}

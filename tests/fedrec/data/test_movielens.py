"""The publisher's files as GroupLens writes them, in folders and archives."""

from __future__ import annotations

import json
import zipfile

import pytest

from fedrec.data.archive import Source
from fedrec.data.movielens import read_ml_1m, read_ml_100k, read_ml_csv
from fedrec.data.movielens_items import GENRES_100K
from fedrec.data.raw import Columns
from fedrec.errors import DataError

FLAGS = "|".join("1" if genre in ("Comedy", "Drama") else "0" for genre in GENRES_100K)
U_ITEM = f"1|Misérables, Les (1995)|01-Jan-1995||http://x|{FLAGS}\n".encode("latin-1")
FILMS = "movieId,title,genres\n1,Toy Story (1995),Animation|Comedy\n2,Nothing,(no genres listed)\n"
RATINGS = "userId,movieId,rating,timestamp\n1,1,4.0,20\n1,2,3.5,10\n"


def read(reader, path):
    return reader(Source(path), Columns())


def test_ml_csv_with_tags_and_links(write, tmp_path) -> None:
    write("ratings.csv", RATINGS)
    write("movies.csv", FILMS)
    write("links.csv", "movieId,imdbId,tmdbId\n1,0114709,862\n2,0000001,\n")
    write("tags.csv", "userId,movieId,tag,timestamp\n1,1,fun,1\n1,1,Pixar,2\n2,1,pixar ,3\n")
    raw = read(read_ml_csv, tmp_path)
    assert raw.interactions.times.tolist() == [20, 10]
    toy, nothing = raw.catalogue["1"], raw.catalogue["2"]
    assert toy.text == "Toy Story (1995). Animation, Comedy. Tags: pixar, fun."
    assert toy.further == {"imdbId": "0114709", "tmdbId": "862"}
    assert nothing.genres == () and nothing.further["tmdbId"] is None


def test_ml_csv_from_an_archive_without_films(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-20m.zip", "w") as archive:
        archive.writestr("ml-20m/ratings.csv", RATINGS)
    raw = read(read_ml_csv, tmp_path / "ml-20m.zip")
    assert raw.catalogue == {} and raw.feature_keys(["1"]) == ["1"]


def test_items_jsonl_is_preferred(write, tmp_path) -> None:
    write("ratings.csv", RATINGS)
    write("movies.csv", FILMS)
    item = {"movieId": 1, "title": "Toy", "genres": ["A"], "plot": "Toys!", "tags": ["X", "x"]}
    write("items.jsonl", json.dumps({**item, "poster": "posters/1.jpg", "imdbId": None}) + "\n")
    toy = read(read_ml_csv, tmp_path).catalogue["1"]
    assert toy.text == "Toy. A. Toys! Tags: x." and toy.image == "posters/1.jpg"
    assert toy.feature_key == "1" and toy.further == {"imdbId": None}


def test_bad_items_jsonl(write, tmp_path) -> None:
    write("ratings.csv", RATINGS)
    for line in ("{", "[1]", '{"title": "x"}', '{"movieId": 1, "title": "x", "tags": [1]}'):
        write("items.jsonl", '{"movieId": 5, "title": "x"}\n' + line + "\n")
        with pytest.raises(DataError, match=r"items\.jsonl:2: not an item object"):
            read(read_ml_csv, tmp_path)


def test_ml_1m(write, tmp_path) -> None:
    write("ratings.dat", "1::1193::5::978300760\n")
    write("movies.dat", "1193::Misérables, Les::Drama|Comedy\n".encode("latin-1"))
    raw = read(read_ml_1m, tmp_path)
    assert raw.interactions.times.tolist() == [978300760] and not raw.interactions.positional
    film = raw.catalogue["1193"]
    assert film.title == "Misérables, Les" and film.genres == ("Drama", "Comedy")
    assert film.feature_key == "1193"


def test_ml_1m_sequences(write, tmp_path) -> None:
    write("sequences.csv", "userId,position,movieId\n1,1,7\n1,0,8\n")
    raw = read(read_ml_1m, tmp_path)
    assert raw.interactions.positional and raw.interactions.times.tolist() == [1, 0]


def test_ml_100k(write, tmp_path) -> None:
    write("u.data", "196\t1\t3\t881250949\n")
    write("u.item", U_ITEM)
    raw = read(read_ml_100k, tmp_path)
    film = raw.catalogue["1"]
    assert film.title == "Misérables, Les (1995)" and film.genres == ("Comedy", "Drama")
    # its ids are not the ids of feature files
    assert raw.feature_keys(["1", "999"]) == [None, None]


def test_ml_100k_recbole_with_a_mapping(write, tmp_path) -> None:
    write("ml-100k.inter", "user_id:token\titem_id:token\ttimestamp:float\n196\t2\t881250949\n")
    write("ml-100k.item", "item_id:token\tmovie_title:token_seq\n1\tToy\n2\tEye\n3\tRooms\n")
    assert read(read_ml_100k, tmp_path).feature_keys(["2"]) == [None]
    write("item_to_movielens.csv", "item_id_100k,movieId\n1,1\n2,10\n3,\n")
    assert read(read_ml_100k, tmp_path).feature_keys(["1", "2", "3"]) == ["1", "10", None]


def test_missing_files_are_named(write, tmp_path) -> None:
    write("notes.txt", "")
    for reader, wanted in (
        (read_ml_csv, r"ratings\.csv"),
        (read_ml_1m, r"ratings\.dat or sequences\.csv"),
        (read_ml_100k, r"u\.data or ml-100k\.inter"),
    ):
        with pytest.raises(DataError, match=f"no {wanted} in it; it holds notes.txt"):
            read(reader, tmp_path)

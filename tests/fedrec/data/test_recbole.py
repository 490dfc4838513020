from __future__ import annotations

import pytest

from fedrec.data.archive import Source
from fedrec.data.raw import Columns
from fedrec.data.recbole import read_recbole
from fedrec.errors import DataError

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ITEM = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tcolour:token\n"


def test_interactions_and_items(write, tmp_path) -> None:
    write("d/shop.inter", INTER + "u1\ti2\t5\t10.5\nu1\ti1\t4\t9\n")
    write("d/shop.item", ITEM + 'i1\tThe "Big" Tea\t1995\tDrink Hot\tred\ni2\tJam\t\t\tblue\n')
    raw = read_recbole(Source(tmp_path / "d"), Columns())
    assert raw.interactions.users.to_pylist() == ["u1", "u1"]
    assert raw.interactions.times.tolist() == [10.5, 9.0]
    tea = raw.catalogue["i1"]
    assert tea.title == 'The "Big" Tea (1995)' and tea.genres == ("Drink", "Hot")
    assert tea.text == 'The "Big" Tea (1995). Drink, Hot.'
    assert tea.further == {"release_year": "1995", "colour": "red"}
    assert raw.catalogue["i2"].title == "Jam"


def test_a_file_and_other_columns(write) -> None:
    path = write("shop.inter", "uid:token\tasin:token\tnth:float\nu\ta\t1\n")
    columns = Columns(user="uid", item="asin", position="nth")
    raw = read_recbole(Source(path), columns)
    assert raw.interactions.items.to_pylist() == ["a"] and raw.interactions.positional
    assert raw.catalogue == {}


def test_bad_files(write, tmp_path) -> None:
    write("d/a.inter", "user_id:token\titem_id:token\nu\ti\n")
    with pytest.raises(DataError, match=r"a\.inter:1: no column 'timestamp' to order by"):
        read_recbole(Source(tmp_path / "d"), Columns())
    write("d/a.inter", INTER + "u\ti\t5\t1\nu\ti\t5\n")
    with pytest.raises(DataError, match=r"a\.inter:3: 3 fields, expected 4"):
        read_recbole(Source(tmp_path / "d"), Columns())
    write("d/b.inter", INTER)
    with pytest.raises(DataError, match=r"2 \.inter files \(a\.inter, b\.inter\), expected 1"):
        read_recbole(Source(tmp_path / "d"), Columns())
    with pytest.raises(DataError, match=r"keeps items in an \.item file"):
        read_recbole(Source(tmp_path / "d"), Columns(items=tmp_path))
    write("e/x.txt", "")
    with pytest.raises(DataError, match=r"0 \.inter files \(none\), expected 1"):
        read_recbole(Source(tmp_path / "e"), Columns())

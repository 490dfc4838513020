from __future__ import annotations

from fedrec.data.catalogue import Item, compose_text, items_table


def test_text_has_only_the_parts_that_there_are() -> None:
    assert compose_text("T", ["A", "B"], "It ends.", ["x", "y"]) == "T. A, B. It ends. Tags: x, y."
    assert compose_text("Who?") == "Who?" and compose_text("") == ""


def test_items_are_numbered_from_one_in_the_order_of_the_keys() -> None:
    catalogue = {
        "b": Item(key="b", title="B", genres=("X", "Y"), image="b.jpg", further={"price": "1"}),
        "unused": Item(key="unused", further={"other": "1"}),
    }
    assert items_table(["b", "z"], catalogue).to_pylist() == [
        {
            "item": 1,
            "key": "b",
            "title": "B",
            "text": "",
            "genres": "X|Y",
            "image": "b.jpg",
            "price": "1",
        },
        {
            "item": 2,
            "key": "z",
            "title": "",
            "text": "",
            "genres": "",
            "image": None,
            "price": None,
        },
    ]

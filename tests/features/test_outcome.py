from __future__ import annotations

from pathlib import Path

from features.contents import Fault
from features.outcome import Outcome, fault_lines, write_faults


def fault(item: int, kind: str, path: str = "", detail: str = "d") -> Fault:
    return Fault(item=item, key=f"k{item}", path=path, kind=kind, detail=detail)


FAULTS = [*(fault(item, "missing", f"p/{item}.jpg") for item in range(1, 6)), fault(9, "empty")]


def outcome(**changed) -> Outcome:
    values = {
        "folder": Path("data/shop"),
        "modality": "image",
        "name": "image",
        "dim": 1280,
        "items": 2000,
        "encoded": 1000,
        "reused": 500,
        "contents": 900,
        "seconds": 90.0,
        "first_frames": 0,
        "faults": [],
        "current": False,
    }
    return Outcome(**values | changed)


def test_the_report_says_what_was_done_and_how_to_use_it() -> None:
    text = "\n".join(outcome(name="image-net-1a2b3c", first_frames=2, faults=FAULTS).lines())
    for part in (
        "image: data/shop/features/image-net-1a2b3c.safetensors",
        "1,280 dimensions, 1,500 of 2,000 items (75.0%)",
        "1,000 newly encoded, 500 reused; 1 min 30 s, 10.0 pictures a second",
        "of 2 animated pictures the first frame was taken",
        "6 without a feature:",
        "5 missing: k1 (p/1.jpg), k2 (p/2.jpg), k3 (p/3.jpg), ...",
        "1 empty: k9",
        "all of them: data/shop/features/image-net-1a2b3c.faults.csv",
        "fedrec run data=data/shop model.visual=image-net-1a2b3c",
    ):
        assert part in text, part
    assert "k4" not in text


def test_the_usual_name_needs_no_setting_and_no_change_is_said() -> None:
    text = "\n".join(outcome(current=True, contents=0, seconds=0.0).lines())
    assert "nothing has changed, nothing was written" in text and "fedrec run" not in text
    text = "\n".join(outcome(modality="text", name="other").lines())
    assert "model.semantic=other" in text


def test_names_of_files_cannot_write_on_the_terminal() -> None:
    lines = fault_lines([fault(1, "missing", "a\x1b[31m\nb.jpg")])
    assert lines[1] == "  1 missing: k1 (a?[31m?b.jpg)"


def test_the_list_of_faults_is_there_when_there_are_any(tmp_path) -> None:
    path = tmp_path / "image.faults.csv"
    write_faults(path, [fault(1, "not a picture", "a,\n\udcff.jpg", 'says "x"')])
    assert path.read_text() == (
        'item,key,path,kind,detail\n1,k1,"a,\n\\udcff.jpg",not a picture,"says ""x"""\n'
    )
    before = path.stat().st_mtime_ns
    write_faults(path, [fault(1, "not a picture", "a,\n\udcff.jpg", 'says "x"')])
    assert path.stat().st_mtime_ns == before
    write_faults(path, [])
    write_faults(path, [])
    assert not path.exists()

"""The remedy works where torchvision's operators are missing and is idle where they are there."""

import subprocess
import sys
from pathlib import Path

MISSING = """
import importlib.util, sys
from features.torchvision_operators import _kept, ensure_torchvision
try:
    import torchvision
    missing = False
except RuntimeError:
    missing = True
for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
    del sys.modules[name]
"""


def run(repository: Path, code: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_the_libraries_import_here_and_the_remedy_acts_only_if_needed_and_only_once(
    repository: Path,
) -> None:
    code = f"""{MISSING}
assert ensure_torchvision() is missing
assert ensure_torchvision() is False
assert len(_kept) == (1 if missing else 0)
import open_clip, sentence_transformers, timm, torchvision
print("all")
"""
    assert run(repository, code) == "all"


def test_nothing_is_declared_where_the_operators_exist(repository: Path) -> None:
    code = f"""{MISSING}
import torch
if missing:  # what a matching build of torchvision brings with it
    theirs = torch.library.Library("torchvision", "DEF")
    theirs.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    theirs.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
assert ensure_torchvision() is False
assert not _kept
assert "torchvision" in sys.modules
print("idle")
"""
    assert run(repository, code) == "idle"


def test_nothing_happens_without_torchvision(repository: Path) -> None:
    code = """
import sys
import features.torchvision_operators as remedy
remedy.find_spec = lambda name: None
assert remedy.ensure_torchvision() is False
assert "torchvision" not in sys.modules and "torch" not in sys.modules
print("idle")
"""
    assert run(repository, code) == "idle"


def test_a_failure_of_another_kind_is_raised(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('no such driver')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from features.torchvision_operators import ensure_torchvision
try:
    ensure_torchvision()
except RuntimeError as error:
    print(error)
"""
    assert run(repository, code) == "no such driver"

"""The app that is submitted says how to run, and holds no code."""

import zipfile
from io import BytesIO
from pathlib import Path

from flwr.cli.build import build_fab_from_disk
from flwr.common.config import get_fused_config_from_dir

from fedrec.config import from_flat, load_config
from server.launch_app import write_app

CONFIG = load_config(None, ["out=/runs/a \"b\" 'c' \\d", "seed=3", "stages.backbone.rounds=7"])


def test_flower_reads_the_same_configuration(tmp_path: Path) -> None:
    folder = write_app(tmp_path / "app", CONFIG)
    assert from_flat(get_fused_config_from_dir(folder, {})) == CONFIG  # type: ignore[arg-type]


def test_the_bundle_holds_no_code(tmp_path: Path) -> None:
    bundle = build_fab_from_disk(write_app(tmp_path / "app", CONFIG))
    names = zipfile.ZipFile(BytesIO(bundle)).namelist()
    assert names == ["pyproject.toml", ".info/CONTENT"]

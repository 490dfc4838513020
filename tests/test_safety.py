"""Nothing unsafe in what we ship: what ruff's rules S find, and what they do not look at."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.hub import expect_hub_or_cache
from fedrec.processes.environment import flower_environment

ROOT = Path(__file__).parents[1]
FOLDERS = ("fedrec", "server", "client", "features", "benchmarks")
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
NAMED_BY_A_USER = "features/weights.py"
"""Names the error that torch raises over a pickle that holds more than tensors."""
SECRET = re.compile(r"private|secret|token|password|passphrase|credential", re.IGNORECASE)
TOLD = {"debug", "info", "warning", "error", "exception", "critical", "log", "print", "echo",
        "secho", "say"}  # fmt: skip


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    """File, call and the dotted name of what is called."""
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield name, node, ast.unparse(node.func)


def keywords(call: ast.Call) -> dict[str | None, str]:
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_linter_looks_for_what_is_unsafe() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S6")] == ["S603"]
    assert not any("S" in rules for path, rules in lint["per-file-ignores"].items()
                   if not path.startswith("tests"))  # fmt: skip


def test_nothing_is_unpickled() -> None:
    found = {name for name, tree in sources() if UNPICKLERS & set(imports(tree))}
    assert found == {NAMED_BY_A_USER}
    for name, call, called in calls():
        named = keywords(call)
        assert named.get("allow_pickle", "False") == "False", name
        if called.endswith(("torch.load", "load_state_dict_from_file", "load_checkpoint")):
            assert called != "torch.load" or named.get("weights_only") == "True", name
        assert named.get("trust_remote_code", "False") == "False", name


def test_nothing_is_evaluated_and_no_shell_is_asked() -> None:
    for name, call, called in calls():
        assert called not in {"eval", "exec", "compile", "__import__"}, f"{name}: {called}"
        assert called not in {"os.system", "os.popen", "subprocess.getoutput"}, name
        assert keywords(call).get("shell", "False") == "False", name
        if called in {"subprocess.run", "subprocess.Popen"} and call.args:
            assert not isinstance(call.args[0], (ast.Constant, ast.JoinedStr)), name


def test_no_line_of_a_log_is_made_of_a_secret() -> None:
    for name, call, called in calls():
        if called.split(".")[-1] in TOLD:
            parts = [*call.args, *(keyword.value for keyword in call.keywords)]
            names = [n for part in parts for n in ast.walk(part) if isinstance(n, ast.Name)]
            held = [n for part in parts for n in ast.walk(part) if isinstance(n, ast.Attribute)]
            told = {*(n.id for n in names), *(n.attr for n in held)}
            assert not [word for word in told if SECRET.search(word)], f"{name}: {told}"


def test_nobody_is_told_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {"FLWR_TELEMETRY_ENABLED": "1", "RAY_USAGE_STATS_ENABLED": "1"}
    env = flower_environment(tmp_path, base=allowed)
    assert env["FLWR_TELEMETRY_ENABLED"] == env["RAY_USAGE_STATS_ENABLED"] == "0"
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    expect_hub_or_cache()
    import os

    assert os.environ.pop("HF_HUB_DISABLE_TELEMETRY") == "1"


def test_a_key_that_slips_into_the_repository_is_found(tmp_path: Path) -> None:
    scan = pytest.importorskip("detect_secrets.core.scan")
    settings = pytest.importorskip("detect_secrets.settings")
    leak = tmp_path / "leak.py"
    leak.write_text("-----BEGIN RSA " + "PRIVATE KEY-----\npassword = '" + "hunter2x9!" + "'\n")
    with settings.default_settings():
        assert {found.type for found in scan.scan_file(str(leak))} >= {"Private Key"}

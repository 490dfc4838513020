"""Coverage-guided fuzzing of every target in turn, for so many seconds each.

    python -m tests.fuzz.run [--seconds 10] [TARGET ...]

A worker process a target, led by the branches of our readers (atheris). A target that ends early
has a finding: the bytes are kept in `fuzz-findings/`, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

FINDINGS = Path("fuzz-findings")
INPUT_S = 20
"""A reader that takes longer for one input hangs."""
MEMORY_MIB = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        work(asked.targets[0], asked.seconds)
    return run(asked.targets or names(), asked.seconds)


def names() -> list[str]:
    """All targets, as a process of its own knows them: importing them makes files."""
    code = "from tests.fuzz.targets import TARGETS; print(*TARGETS, sep='\\n')"
    with scratch() as env:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, check=True, stdout=-1, text=True, env=env
        ).stdout.splitlines()


@contextmanager
def scratch() -> Iterator[dict[str, str]]:
    """An environment whose temporary files lie in memory where there is such a place, and go."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="fedrec-fuzz-", dir=memory if memory.is_dir() else None
    ) as folder:
        yield {**os.environ, "TMPDIR": folder}


def run(targets: list[str], seconds: int) -> int:
    """Fuzz one after the other; 1 where any of them had a finding."""
    found = []
    for name in targets:
        with scratch() as env:
            command = [sys.executable, "-m", "tests.fuzz.run", name, "--worker"]
            command += ["--seconds", str(seconds)]
            ended = subprocess.run(command, check=False, stderr=-1, text=True, env=env)
            last = [line for line in ended.stderr.splitlines() if line.startswith(("#", "Done"))]
            print(f"{name}: {last[-1] if last else ended.stderr[-400:]}", flush=True)
            if ended.returncode:
                found.append(name)
                print(ended.stderr[-4000:])
    print(f"{len(targets)} targets, findings in {len(found)}: {', '.join(found) or 'none'}")
    return int(bool(found))


def work(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris  # its wheel is for Linux on x86 alone

    with atheris.instrument_imports(include=["fedrec", "features"]):
        from tests.fuzz.mutations import mutated
        from tests.fuzz.targets import TARGETS

    target, corpus = TARGETS[name], Path(tempfile.mkdtemp())
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)

    def change(content: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return mutated(content, random)[:most]
        return bytes(atheris.Mutate(content, most))

    FINDINGS.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}", f"-timeout={INPUT_S}", f"-rss_limit_mb={MEMORY_MIB}",
        "-max_len=20000", f"-artifact_prefix={FINDINGS}/{name.replace(' ', '-')}-".replace("'", ""),
    ]  # fmt: skip
    words = [sys.argv[0], *options, str(corpus)]
    atheris.Setup(words, lambda content: target(content) and None, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

"""Missing libraries and devices are errors that say what to do."""

import pytest

from features.libraries import device_named, library, versions_of
from fedrec.errors import ConfigError


def test_a_missing_library_says_how_to_install_it() -> None:
    with pytest.raises(ConfigError, match=r"no_such_library .*pip install 'fedrec\[features\]'"):
        library("no_such_library")


def test_devices_are_checked_before_anything_is_loaded() -> None:
    torch = library("torch")
    count = torch.cuda.device_count()
    assert device_named("cpu") == "cpu"
    assert device_named("auto") == ("cuda" if count else "cpu")
    with pytest.raises(ConfigError, match=f"torch sees {count} CUDA devices"):
        device_named(f"cuda:{count}")
    for wrong in ("gpu", "cuda:x", "", "cpu:0"):
        with pytest.raises(ConfigError, match="expected auto, cpu, cuda or cuda:N"):
            device_named(wrong)


def test_versions_are_those_that_are_installed() -> None:
    import numpy

    assert versions_of("numpy") == {"numpy": numpy.__version__}

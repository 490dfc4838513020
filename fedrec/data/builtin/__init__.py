"""The data set that is shipped with the package. See README.md in this folder."""

from pathlib import Path

ML_LATEST_SMALL = Path(__file__).parent / "ml-latest-small"

"""Data: from a publisher's files to a prepared folder, and from there to arrays.

`prepare` writes a folder, `PreparedData.load` opens it. docs/data.md describes the folder.
"""

from fedrec.data.features import FeatureTable, write_features
from fedrec.data.partition import cut_users, partition_users, take_partition
from fedrec.data.preparation import prepare
from fedrec.data.prepared import PreparedData
from fedrec.data.raw import Columns
from fedrec.data.registry import DATASETS, Dataset

__all__ = [
    "DATASETS",
    "Columns",
    "Dataset",
    "FeatureTable",
    "PreparedData",
    "cut_users",
    "partition_users",
    "prepare",
    "take_partition",
    "write_features",
]

"""The names that server and client both use in their messages. Nothing else crosses the wire."""

ARRAYS = "arrays"
"""Record of the groups that the stage trains; back comes the weighted sum of the users' updates."""

FROZEN = "frozen"
"""Record of all other groups, sent once a stage; the node keeps it in its state."""

CONFIG = "config"
"""Record of what is asked: STAGE, ROUND, FROZEN_FINGERPRINT, and MEMBERS or SPLIT."""

METRICS = "metrics"
"""Record of what is answered beside arrays: WEIGHT, LOSS, USERS, SECONDS; or sums of ranks."""

STAGE, ROUND, SPLIT = "stage", "round", "split"
MEMBERS = "members"
"""Positions, among a node's trainable users, of those that train in this round."""

FROZEN_FINGERPRINT = "frozen-fingerprint"
WEIGHT, LOSS, USERS, SECONDS = "num-examples", "loss-sum", "users", "seconds"

TRAINABLE, ITEMS, CATALOGUE, PARTITION = "trainable", "items", "catalogue", "partition"
FEATURE_DIM = "feature-dim/"
"""Prefix of the widths of the features a node has, by expert name."""

"""The names that server and client both use in their messages. Nothing else crosses the wire."""

ARRAYS = "arrays"
"""Record of the groups that the stage trains; back comes the weighted sum of the users' updates.

With float32 and whole tables it holds every parameter by its name. Otherwise it holds one vector
of bytes a group (`fedrec.transport`), and of the item table only ROWS where these are beside it:
down in float32, up as `federation.transport` says."""

CHANGE = "change/"
"""Prefix of records, numbered from 0, of what to add to version BASE, one after the other, to get
VERSION; groups and ROWS as in ARRAYS."""

ROWS = "item_embedding.rows"
"""Array int32 [rows] in a record: the rows of the item table that it speaks of, ascending."""

ROW_WEIGHTS = "item_embedding.row_weights"
"""Array float32 in the record of an update, where `federation.item_averaging` is `row`: what those
users of the cohort weigh who met an item. [rows] beside ROWS, else [items + 1]."""

PACKED = "packed"
"""The only array of a record that travels packed (`fedrec.transport.pack`), as all records of
arrays do in a deployment: Flower makes a request for every array of every message."""

FROZEN = "frozen"
"""Record of all other groups, sent once a stage; the node keeps it in its state."""

CONFIG = "config"
"""Record of what is asked: STAGE, ROUND, FROZEN_FINGERPRINT, and MEMBERS or SPLIT; where nodes keep
what trains, also VERSION, BASE and INITIAL; where users keep something, also BEST. An answer to
training or evaluation has one with STAGE, ROUND, and SPLIT where it was asked: what it answers."""

VERSION, BASE = "version", "base"
"""The model that the node must have to answer, and the one it must hold to get there from what the
message brings. Without BASE the message brings all of it, with neither record the two are one."""

INITIAL = "initial"
"""Fingerprint of BASE where that is the untrained model, which a node may build by itself."""

METRICS = "metrics"
"""Record of what is answered beside arrays: WEIGHT, LOSS, USERS, SECONDS; or sums of ranks."""

STAGE, ROUND, SPLIT = "stage", "round", "split"
MEMBERS = "members"
"""Positions of those that train in this round, among what the node said it has to draw from."""

BEST = "best"
"""The best round of the stage so far, 0 = none yet; in the test, the round that is tested."""

FROZEN_FINGERPRINT = "frozen-fingerprint"
WEIGHT, LOSS, USERS, SECONDS = "num-examples", "loss-sum", "users", "seconds"

HELD_USERS = "held-users"
"""How many users a node has, whether they can train or not."""

TRAINABLE, ITEMS, CATALOGUE, PARTITION = "trainable", "items", "catalogue", "partition"
"""TRAINABLE: what can be drawn there, users or windows (`federation.draw`)."""

NEW_ITEMS = "new-items"
"""Fingerprint of the items that nobody trains and of their features; `none` without such items."""

COLD_TARGETS = "cold-targets"
"""Whether test targets are items that nobody trains: the answer to a test has one protocol more."""

FEATURE_DIM = "feature-dim/"
"""Prefix of the widths of the features a node has, by expert name."""

OWN_DATA = "own-data"
"""Whether a node holds a data folder of its own: then it must fit the server's."""

LIBRARY = "library/"
"""Prefix of the versions that a node runs, by library."""

SETTINGS = "settings"
"""Fingerprint of all settings as a node reads them."""

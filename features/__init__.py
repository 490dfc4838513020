"""Item features from pretrained encoders, handed over as files in a prepared data folder.

Nothing is extracted here yet: `fedrec prepare --features` joins feature files made elsewhere (see
docs/data.md). The encoders' libraries may be imported in this package and nowhere else.
"""

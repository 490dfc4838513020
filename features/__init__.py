"""Item features from pretrained encoders, handed over as files in a prepared data folder.

`fedrec extract` (see docs/features.md). The encoders' libraries may be imported in this package and
nowhere else, and there only inside the functions that need them.
"""

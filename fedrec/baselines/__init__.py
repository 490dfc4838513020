"""Floors: systems that any recommender must beat. A number without them means nothing.

`fitting` says what a baseline is, each baseline has its own file, `evaluate` lists and ranks them.
"""

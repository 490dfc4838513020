"""Evaluation: targets -> ranks -> sums -> metrics; `docs/protocol.md` says what is measured.

`targets` says what is asked of a model for a user, `ranks` asks it, `metrics` turns ranks into sums
that add up over nodes and into means, `segments` splits items by popularity, `rank_file` keeps the
ranks of every user, `significance` compares two systems user by user.
"""

"""Recommendations for one user: `best` finds them, `command` shows them."""

"""What a run says while it lasts and leaves behind: log lines, its status, a page of metrics.

Nothing here tells of a single user or item.
"""

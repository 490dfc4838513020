"""The errors that somebody catches. Messages name the place, the value and what was expected."""


class FedrecError(Exception):
    """Base of every error that fedrec raises on purpose."""


class RoundsFailed(FedrecError):
    """Round after round too few updates were fit to average: often a rate that is too high."""


class Unencodable(FedrecError, ValueError):
    """A number is not finite, or too large to travel: often a rate that is too high."""


class DataError(FedrecError):
    """A data file, a prepared folder or a feature file is missing, malformed or foreign."""


class ConfigError(FedrecError):
    """A configuration key, its type or its value is not allowed."""


class CheckpointError(FedrecError):
    """A checkpoint is missing, corrupt, foreign, or unfit to start a stage from."""

"""Configuration: frozen dataclasses with the defaults, and their way from and to TOML."""

from fedrec.config.fingerprint import settings_fingerprint
from fedrec.config.loading import from_flat, load_config, to_flat, to_toml
from fedrec.config.schema import (
    Config,
    EvaluationConfig,
    FederationConfig,
    MemoryConfig,
    ModelConfig,
    PersonalConfig,
    RunConfig,
    StageConfig,
    TrainingConfig,
)

__all__ = [
    "Config",
    "EvaluationConfig",
    "FederationConfig",
    "MemoryConfig",
    "ModelConfig",
    "PersonalConfig",
    "RunConfig",
    "StageConfig",
    "TrainingConfig",
    "from_flat",
    "load_config",
    "settings_fingerprint",
    "to_flat",
    "to_toml",
]

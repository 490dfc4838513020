"""Configuration: frozen dataclasses with the defaults, and their way from and to TOML."""

from fedrec.config.federation import FederationConfig
from fedrec.config.fingerprint import settings_fingerprint
from fedrec.config.loading import from_flat, load_config, to_flat, to_toml
from fedrec.config.model import MemoryConfig, ModelConfig
from fedrec.config.schema import Config, EvaluationConfig, RunConfig
from fedrec.config.training import (
    PERSONAL_PARTS,
    STAGE_ORDER,
    PersonalConfig,
    StageConfig,
    TrainingConfig,
)

__all__ = [
    "PERSONAL_PARTS",
    "STAGE_ORDER",
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

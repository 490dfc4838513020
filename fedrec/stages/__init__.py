"""The stages of FedDMMR as data: what trains, what takes part in the scores, what is needed."""

from fedrec.stages.registry import STAGES, Stage, stage_groups, without_parents

__all__ = ["STAGES", "Stage", "stage_groups", "without_parents"]

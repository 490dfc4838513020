"""Quality: do the item features of a prepared folder carry signal, before anyone trains on them?

`rows` looks features up as directions, `sampling` draws the questions, `signal` answers them,
`geometry`, `duplicates` and `overlap` describe the features, `measure` does all of it. `warning`
turns it into sentences, `table` and `picture` show it. docs/quality.md says what the numbers mean.
"""

from fedrec.quality.measure import Quality, measure_quality
from fedrec.quality.warning import lift_warnings, quality_warnings

__all__ = ["Quality", "lift_warnings", "measure_quality", "quality_warnings"]

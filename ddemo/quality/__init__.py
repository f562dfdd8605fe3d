"""What a checkpoint is worth: prose beside real prose, infilling beside baselines, repair of wrong tokens.

All three are functions of held-out text and a seed; their judge knows nothing of the checkpoint.
"""

from ddemo.quality.infilling import measure_infilling
from ddemo.quality.prose import measure_prose
from ddemo.quality.repair import measure_repair

__all__ = ["measure_infilling", "measure_prose", "measure_repair"]

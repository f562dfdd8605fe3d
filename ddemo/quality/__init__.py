"""What a checkpoint is worth: prose beside real prose, infilling beside baselines, repair of wrong tokens.

All three are functions of held-out text and a seed; their judge knows nothing of the checkpoint.
"""

from ddemo.quality.infilling import infilling
from ddemo.quality.prose import prose
from ddemo.quality.repair import repair

__all__ = ["infilling", "prose", "repair"]

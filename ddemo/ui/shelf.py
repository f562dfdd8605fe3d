"""The checkpoints that a running server offers, from which every visitor chooses their own."""

import logging
from collections.abc import Iterator, Sequence

from ddemo.denoisers.loading import SHIPPED
from ddemo.errors import InputError
from ddemo.trace import Trace
from ddemo.ui.resident import Resident

log = logging.getLogger(__name__)


class Shelf:
    """Residents by their ids, in the order in which they are offered; each loads when it is first asked for.

    The weights of one that was loaded stay, and all its visitors share them.

    Args:
        residents: the first is the one that the page opens with.
    """

    def __init__(self, residents: Sequence[Resident]):
        self._residents = {resident.id: resident for resident in residents}
        self.default = residents[0]

    @classmethod
    def of(cls, name: str, device: str = "auto", dtype: str = "auto") -> "Shelf":
        """A checkpoint by its id or directory, and the shipped ones beside it.

        Raises:
            InputError: when its files already tell that the first cannot be loaded. Another that cannot is left out.
        """
        residents = [Resident(name, device, dtype)]
        for shipped in sorted(path.parent.name for path in SHIPPED.glob("*/config.json")):
            if shipped == residents[0].id:
                continue
            try:
                residents.append(Resident(shipped, device, dtype))
            except InputError as problem:
                log.warning("%s is not offered: %s", shipped, problem)
        return cls(residents)

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._residents.values())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._residents

    def __getitem__(self, name: object) -> Resident:
        """Raises InputError for a checkpoint that is not offered."""
        if name not in self:
            offered = ", ".join(self._residents)
            raise InputError(f"There is no such checkpoint on this page: choose one of {offered}.")
        return self._residents[name]

    def get(self, name: object) -> Resident:
        """The one of that id, or the default where it is not offered."""
        return self._residents.get(name, self.default)

    def maker_of(self, trace: Trace) -> Resident:
        """What a run was made with. Raises InputError where this page does not offer it."""
        made_with = trace.checkpoint["id"]
        if made_with not in self:
            raise InputError(f"This run was made with {made_with}, which this page does not offer.")
        return self._residents[made_with]

    def companions(self, resident: Resident) -> list[Resident]:
        """Those that share the tokens of a resident, which comes first: one canvas serves them all."""
        others = [other for other in self if other is not resident and other.codec.same_tokens(resident.codec)]
        return [resident, *others]

"""The checkpoints that a running server offers, from which every visitor chooses their own."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ddemo.denoisers.loading import DEFAULT_CHECKPOINT, SHIPPED
from ddemo.denoisers.stored import never
from ddemo.errors import InputError
from ddemo.trace import Trace
from ddemo.ui.resident import Resident

log = logging.getLogger(__name__)


class Shelf:
    """Residents by their ids, in the order in which they are offered; each loads when it is first asked for.

    The weights of one that was loaded stay, and all its visitors share them, until another needs their memory.

    Args:
        residents: the first is the one that the page opens with.
        public: visitors choose among these alone: nothing is added while the server runs.
        device, dtype: for those that are added, as `load_checkpoint` takes them.
    """

    def __init__(
        self, residents: Sequence[Resident], public: bool = False, device: str = "auto", dtype: str = "auto"
    ):
        self._residents = {resident.id: resident for resident in residents}
        self.device, self.dtype = device, dtype
        self._changing, self._loading = threading.Lock(), threading.Lock()
        self.default = residents[0]
        self.public = public
        for resident in residents:
            resident.room = self._room

    @classmethod
    def of(
        cls,
        names: str | Sequence[str] = (),
        device: str = "auto",
        dtype: str = "auto",
        public: bool = False,
        force: bool = False,
    ) -> "Shelf":
        """Checkpoints by their ids or directories.

        Args:
            names: what the owner lists, the first of which opens the page. The shipped ones stand beside them, but
                not on a public page for which something was listed.
            force: load the listed ones even where they do not fit into the memory.

        Raises:
            InputError: when its files already tell that a listed one cannot be loaded. A shipped one that cannot is
                left out.
        """
        listed = [names] if isinstance(names, str) else list(names)
        residents: dict[str, Resident] = {}
        for name in listed or [DEFAULT_CHECKPOINT]:
            resident = Resident(name, device, dtype, force)
            residents.setdefault(resident.id, resident)
        beside = [] if public and listed else sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))
        for shipped in beside:
            if shipped in residents:
                continue
            try:
                residents[shipped] = Resident(shipped, device, dtype)
            except InputError as problem:
                log.warning("%s is not offered: %s", shipped, problem)
        return cls(list(residents.values()), public, device, dtype)

    def add(self, name: str, force: bool = False, dtype: str = "") -> Resident:
        """Offer one more, by the id of a checkpoint in the Hub's cache or by its directory; it is not loaded yet.

        Args:
            dtype: type of its weights, in place of the page's; what is loaded already stays as it is.

        Raises:
            InputError: on a public page; for what cannot be read; for another one under an id that is taken.
        """
        if self.public:
            raise InputError("This page offers the checkpoints that its owner has listed, and no others.")
        resident = Resident(name, self.device, dtype or self.dtype, force)
        with self._changing:
            there = self._residents.get(resident.id)
            if there is not None:
                if there.directory != resident.directory:
                    raise InputError(f"Another checkpoint is called {resident.id} here: rename its directory.")
                there.force = there.force or force
                if dtype and not there.loaded:
                    there.dtype = dtype
                return there
            resident.room = self._room
            # A new mapping, for whoever goes through the old one.
            self._residents = self._residents | {resident.id: resident}
        return resident

    def load(self, name: str, force: bool = False, dtype: str = "", stopped: Callable[[], bool] = never) -> Resident:
        """As `add`, loaded too, and in that type. Where it cannot be, it is not offered, and what was there before is
        there again.

        Raises:
            LoadStopped: `stopped` said so before it was there.
            InputError: as `add`, and where it cannot be loaded, or is at work in another type.
        """
        before = {known: (known.dtype, known.force) for known in self}
        resident = self.add(name, force, dtype)
        if resident.can_be(dtype):
            return self._load_again(resident, dtype, stopped)
        try:
            resident.start(again=True).get_unless(stopped)
        except InputError:
            if resident in before:
                resident.dtype, resident.force = before[resident]
            else:
                with self._changing:
                    self._residents = {key: kept for key, kept in self._residents.items() if kept is not resident}
            raise
        return resident

    def _load_again(self, resident: Resident, dtype: str, stopped: Callable[[], bool]) -> Resident:
        """In another type; where that fails or is stopped, it is there in the one of before."""
        if resident.busy:
            raise InputError(f"{resident.id} is at work: load it in {dtype} when that has ended.")
        before, resident.dtype = resident.get().dtype, dtype
        resident.unload()
        try:
            resident.get_unless(stopped)
        except InputError:
            resident.dtype = before
            resident.unload()
            resident.start()
            raise
        return resident

    @contextmanager
    def _room(self, resident: Resident) -> Iterator[None]:
        """One load at a time, idle residents giving way to it where memory is short, the default last of all."""
        with self._loading:
            evicted = []
            idle = [other for other in self if other is not resident and other.loaded and not other.busy]
            if not resident.could_fit(sum(other.weight_bytes for other in idle)):
                idle = []  # it would be of no use; loading says what is missing
            for other in sorted(idle, key=lambda other: (other is self.default, other.used)):
                if resident.fit().verdict != "does not fit":
                    break
                log.warning("%s gives way to %s", other.id, resident.id)
                other.unload()
                evicted.append(other)
            try:
                yield
            except BaseException:
                for other in evicted:  # they wait for this one to be over
                    other.start()
                raise

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

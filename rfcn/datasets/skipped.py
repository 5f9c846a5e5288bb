"""Pictures that could not be read when their turn came: told, listed, and not too many of them."""

from collections.abc import Callable

from rfcn.datasets.findings import some
from rfcn.errors import DataError


class SkippedPictures:
    """What a loader skips.

    Args:
        allowed: so many different pictures; 0 allows none: the first one's fault is raised.
        tell: is given a sentence for each, once. said: what becomes of them, in that sentence.
    """

    def __init__(
        self,
        allowed: int = 0,
        *,
        tell: Callable[[str], object] = print,
        said: str = "skipped",
    ) -> None:
        self.allowed = allowed
        self.faults: dict[str, str] = {}
        """What was wrong with each picture, by its id."""
        self.tell = tell
        self._said = said

    def add(self, name: str, fault: DataError) -> None:
        """Another one, or one again. Raises `fault` where none is allowed, DataError where this
        picture is one too many."""
        if self.allowed == 0:
            raise fault
        if name in self.faults:
            return
        self.faults[name] = str(fault)
        if len(self.faults) > self.allowed:
            raise DataError(
                f"{len(self.faults)} pictures could not be read, and `data.on_bad_image: skip` "
                f"passes over {self.allowed} of this data set: {some(list(self.faults))}. Mend "
                f"them, or take them off the list. The last one: {fault}"
            )
        self.tell(f"{self._said} ({len(self.faults)} of at most {self.allowed}): {fault}")

    def summary(self) -> str | None:
        """One sentence on all of them; None without any."""
        if not self.faults:
            return None
        return f"Pictures that could not be read: {len(self.faults)} ({some(list(self.faults))})."

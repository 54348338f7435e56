"""Context managers of the test bed: what has `close`, and what has `open` besides."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class AutoClose(ABC):
    """Open from the beginning; the end of the `with` block closes it."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AutoOpen(AutoClose):
    """The beginning of the `with` block opens it."""

    @abstractmethod
    def open(self) -> None: ...

    def __enter__(self) -> Self:
        self.open()
        return self

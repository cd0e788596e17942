"""Files as a handler sees them: ids in, local paths out."""

from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import UUID


class FileNotAvailable(Exception):
    """The file does not exist, has expired or belongs to another app."""


class FileInfo(NamedTuple):
    """What is known of a file besides its bytes."""

    name: str
    content_type: str
    bytes: int


class Files(Protocol):
    """The files of the job's own app."""

    def describe(self, file_id: UUID) -> FileInfo:
        """The file's name, content type and size. Raises `FileNotAvailable`."""

    def path(self, file_id: UUID) -> Path:
        """A local, read-only path to the file's content. Raises `FileNotAvailable`."""

    def save(self, name: str, content_type: str, source: Path) -> UUID:
        """Keep the content of `source` as a new file of the job's app and return its id."""

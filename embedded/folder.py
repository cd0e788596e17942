"""A folder that belongs to one process at a time, and files in it that only their owner may read."""

import fcntl
import os
from pathlib import Path

from embedded import CannotRun


class FolderLock:
    """Held from `take` until `release` or the death of this process, however it dies."""

    def __init__(self, folder: Path) -> None:
        """Nothing is held or written yet."""
        self.folder = folder
        self._file: int | None = None

    def take(self) -> None:
        """Make the folder if need be and hold it; taken already, it is `CannotRun` naming the holder."""
        if self._file is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 20).decode() or "another process"
            os.close(file)
            raise CannotRun(f"{self.folder} is in use by process {holder}: stop that one first.") from None
        os.truncate(file, 0)
        os.write(file, str(os.getpid()).encode())
        self._file = file

    def release(self) -> None:
        """Let the next one have it. The file stays: unlinking it would let two processes hold two locks."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def write_private(path: Path, text: str) -> None:
    """Replace the file's content in one step, readable by its owner alone."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)

"""Untrusted files are plain files: a pipe would block its reader, and a device never ends."""

import errno
import os
import stat
from pathlib import Path


def size_of(file: Path | str) -> int:
    """The bytes of a plain file, or of the one that a link leads to. Raises OSError for a pipe, a device or a folder.

    Call it before a file is opened: to open a pipe without a writer already blocks.
    """
    about = os.stat(file)
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, "a pipe or a device, expected a plain file", str(file))
    return about.st_size

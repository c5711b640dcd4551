"""The version before this one, as an archive of its two packages, to run beside this one.

`python -m tests.previous COMMIT` makes it again from the history, when a version is released.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).parent / "relais.tar.xz"
PACKAGES = ("gateway", "sdk")


def unpack(folder: Path) -> Path:
    """The version before, in `folder`; a connector for the tests stands beside, as the module `records`."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    connector = (ARCHIVE.parents[1] / "torture" / "records.py").read_text("utf-8")
    (folder / "records.py").write_text(connector, "utf-8")
    return folder


def pack(commit: str) -> None:
    """Makes the archive from the history."""
    content = subprocess.run(["git", "archive", commit, *PACKAGES], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(content)) as given, tarfile.open(ARCHIVE, "w:xz") as archive:
        for member in given:
            archive.addfile(member, given.extractfile(member) if member.isfile() else None)

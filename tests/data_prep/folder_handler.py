"""A remote store for tests: `test://` is a local folder whose files must be fetched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from iopath.common.file_io import NativePathHandler


class FolderHandler(NativePathHandler):
    """`test://bucket/name` is `<folder>/bucket/name`; what is fetched is copied to `cache_dir`, as from a remote store."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.cache_dir: str | None = None
        self.fetched: list[Path] = []

    def _get_supported_prefixes(self) -> list[str]:
        return ["test://"]

    def _get_path_with_cwd(self, path: str) -> str:
        return str(self.folder / path.removeprefix("test://"))

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        assert self.cache_dir is not None
        copy = Path(self.cache_dir, "store", Path(path).name)
        copy.parent.mkdir()
        self.fetched.append(Path(shutil.copy(self._get_path_with_cwd(path), copy)))
        return str(copy)

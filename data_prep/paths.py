"""Inputs by path or by URI: one iopath PathManager, asked only for schemes that it has a handler for.

iopath takes a URI of a scheme it does not know for a local path, and says nothing. Here that is an error that says what to
install. `s3://` is served by iopath's own handler when boto3 is there. Other schemes come from handlers that an installed
package names under the entry point group `data_prep.path_handlers` (so that worker processes have them too), or that a
program registers itself with `register_handler`.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from data_prep.disk import require_free
from data_prep.errors import DataError

HANDLERS = "data_prep.path_handlers"
S3 = "s3://"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_handlers: dict[str, Any] = {}
"""Handlers registered by the program itself, by prefix."""


def is_remote(path: str) -> bool:
    """Whether `path` is a URI, other than of a local file."""
    return _SCHEME.match(path) is not None and not path.startswith("file://")


def local_path(path: str) -> Path:
    """The local path of `path` or of a `file://` URI. DataError for a URI that names another host."""
    if not path.startswith("file://"):
        return Path(path)
    rest = path.removeprefix("file://").removeprefix("localhost")
    if not rest.startswith("/"):
        raise DataError(f"{path}: a file:// URI needs a whole path, as in file:///data/day_0")
    return Path(rest)


def register_handler(handler: Any) -> None:
    """Serve the prefixes of an `iopath.common.file_io.PathHandler` in this process, from now on.

    The handler may have a method `file_size(uri) -> int`; without one, sizes are found by opening the file and seeking to its
    end. If it has an attribute `cache_dir`, that is set before each fetch, and what was fetched is removed after use.
    """
    for prefix in handler._get_supported_prefixes():
        _handlers[prefix] = handler
    _manager.cache_clear()


def remote_files(folder: str) -> list[str]:
    """The names of what lies directly in the folder at URI `folder`. DataError when it cannot be listed."""
    keys = _call(folder, "listed", lambda: _handler_and_manager(folder)[1].ls(f"{folder.rstrip('/')}/"))
    return sorted({key.rstrip("/").rpartition("/")[2] for key in keys if not key.endswith("/")})


def remote_size(uri: str) -> int | None:
    """Bytes of the file at `uri`, or None when there is none. DataError when the store cannot be asked."""
    handler, manager = _handler_and_manager(uri)
    if not _call(uri, "found", lambda: manager.isfile(uri)):
        return None
    if hasattr(handler, "file_size"):
        return int(_call(uri, "read", lambda: handler.file_size(uri)))
    with _call(uri, "read", lambda: manager.open(uri, "rb")) as file:
        return int(file.seek(0, os.SEEK_END))


@contextmanager
def local_copy(path: str, size: int, folder: Path) -> Iterator[Path]:
    """The file at `path` as a local one while the block lasts: itself, or fetched to a folder of its own in `folder`.

    Raises DataError when `folder` has no room for `size` bytes, or the file cannot be fetched.
    """
    if not is_remote(path):
        yield local_path(path)
        return
    require_free(folder, size)
    handler, manager = _handler_and_manager(path)
    with tempfile.TemporaryDirectory(prefix=".fetched-", dir=folder) as cache:
        if hasattr(handler, "cache_dir"):
            handler.cache_dir = cache
        yield Path(_call(path, "fetched", lambda: manager.get_local_path(path)))


def _handler_and_manager(uri: str) -> tuple[Any, Any]:
    manager, handlers = _manager()
    for prefix in sorted(handlers, reverse=True):
        if uri.startswith(prefix):
            return handlers[prefix], manager
    scheme = uri.partition("://")[0]
    missing = "install boto3 (pip install boto3)" if uri.startswith(S3) else f"install a package with a handler for it (group {HANDLERS})"
    raise DataError(f"{uri}: nothing here can read {scheme}://; {missing}, or copy the files to this machine")


@functools.cache
def _manager() -> tuple[Any, dict[str, Any]]:
    from iopath.common.file_io import PathManager

    manager, handlers = PathManager(), dict(_handlers)
    for found in (_s3_handler(), *(entry.load()() for entry in entry_points(group=HANDLERS))):
        for prefix in found._get_supported_prefixes() if found else ():
            handlers.setdefault(prefix, found)
    for handler in {id(handler): handler for handler in handlers.values()}.values():
        manager.register_handler(handler)
    return manager, handlers


def _s3_handler() -> Any:
    """iopath's handler of s3://, or None without boto3."""
    try:
        import boto3  # noqa: F401 - iopath imports without it, and fails later
    except ImportError:
        return None
    from iopath.common.s3 import S3PathHandler

    class S3Files(S3PathHandler):
        def file_size(self, uri: str) -> int:
            return int(self._head_object(uri)["ContentLength"])

    return S3Files(profile=None)  # iopath's default is a profile of its authors' own


def _call(uri: str, done: str, call: Any) -> Any:
    """What `call` returns; whatever a store's library raises becomes one line."""
    try:
        return call()
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{uri} cannot be {done}: {type(error).__name__}: {' '.join(str(error).split())}") from error

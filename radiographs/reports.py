"""Programs from before the readers moved name them by this path, and by their old names."""

from radiographs.readers.registry import READERS as NEW
from radiographs.readers.registry import RENAMED

READERS = NEW | {old: NEW[new] for old, new in RENAMED.items()}
__all__ = ["READERS"]

"""Studies in the formats that others read, one file a format, all from the truth about each picture."""

from radiolucent.rendering.exports.registry import EXPORTS, export_files, refuse_unknown, write_exports

__all__ = ["EXPORTS", "export_files", "refuse_unknown", "write_exports"]

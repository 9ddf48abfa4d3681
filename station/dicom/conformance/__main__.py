"""Write the tables into CONFORMANCE.md."""

from station.dicom.conformance.tables import PLACE, tables, written

PLACE.write_text(written(PLACE.read_text(encoding="utf-8"), tables()), encoding="utf-8")

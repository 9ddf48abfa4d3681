"""The tables of the DICOM conformance statement, taken from the code; `python -m` writes them into it."""

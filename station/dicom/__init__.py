"""DICOM objects: built purely, checked for meaning before they are written."""

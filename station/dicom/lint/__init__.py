"""What contradicts itself in outgoing objects: `problems` of objects at hand, `lint_files` of files."""

from station.dicom.lint.judge import lint_files as lint_files
from station.dicom.lint.judge import problems as problems

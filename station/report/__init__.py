"""The report for people: one tagged page, charts as vectors."""

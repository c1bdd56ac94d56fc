"""The `anyviews` command: one file per verb."""

"""Results of studies as tables, files and a page."""

"""Results as one self-contained HTML page and its figures."""

"""Files: of arrays and plain values, and tables of numbers."""

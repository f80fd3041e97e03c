"""Files of arrays and plain values."""

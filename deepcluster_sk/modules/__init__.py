"""Networks: they know torch only."""

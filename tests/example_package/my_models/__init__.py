"""Models of one's own, beside lit-gen."""

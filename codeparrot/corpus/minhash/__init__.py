"""MinHash: shingles, signatures and bands."""

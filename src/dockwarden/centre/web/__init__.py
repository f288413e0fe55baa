"""The centre's pages, read-only: stations, records, and the life of one record with its proofs."""

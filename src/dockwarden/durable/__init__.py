"""What must not be lost: the one durable write, read-back past the cache, staging, and the ledger."""

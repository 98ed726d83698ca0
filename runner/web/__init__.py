"""The web for a model: pages fetched with care, and backends that search."""
